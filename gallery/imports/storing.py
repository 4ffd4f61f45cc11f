"""What becomes of one item: opened, handed to `ingest`, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import IO, TypeVar

from django.conf import settings
from django.db import DataError, IntegrityError, OperationalError
from django.utils import timezone

from gallery import downloads, errnos, texts
from gallery.descriptions import Description
from gallery.downloads import DownloadFailed
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.importers import ItemUnreadable, Source, check_error
from gallery.imports.restarts import patient
from gallery.ingest import Added, NewImage
from gallery.interruptions import is_passing
from gallery.models import ImportItem, ImportRun, ItemState
from gallery.storage.originals import Original
from gallery.trees import names
from gallery.videos import intake

TRIES = 3  # of what may pass: a disk or a network that hiccups
PAUSE_SECONDS = 0.5
_GONE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an item; `state` None: another process has written that down."""

    name: str
    state: ItemState | None
    reason: str = ""


class _NotWaiting(Exception):
    """The item is done already: rolls the image back that came too late."""


@dataclass(frozen=True)
class Storer:
    """Takes items of one run. Used from several threads at once."""

    run: ImportRun
    source: Source

    def open(self, item: ImportItem) -> IO[bytes] | Outcome:
        """Return the item's bytes, or what became of it. Raise SourceUnreadable."""
        try:
            return _tried(partial(self._open, item))
        except (ItemUnreadable, ImageRefused, DownloadFailed) as error:
            return self._failed(item, str(error))
        except OSError as error:
            _raise_if_away(item, error)
            return self._failed(item, _sentence(error))

    def store(self, item: ImportItem, file: IO[bytes]) -> Outcome:
        """Store what was opened. Raise StorageUnavailable, SourceUnreadable, DatabaseAway."""
        try:
            with file:
                return patient(partial(self._store, item, file))
        except (ImageRefused, ItemUnreadable) as refusal:
            return self._failed(item, str(refusal))
        except OSError as error:
            _raise_if_full(error)
            _raise_if_away(item, error)
            return self._failed(item, _sentence(error))
        except IntegrityError:
            return self._failed(item, "What it belongs to is just being deleted: try it again.")
        except (DataError, OperationalError) as error:
            if isinstance(error, OperationalError) and is_passing(error):
                raise
            return self._failed(item, f"The database does not take it: {error}")

    def open_and_store(self, item: ImportItem) -> Outcome:
        """Both, for items that are opened in no time."""
        opened = self.open(item)
        return opened if isinstance(opened, Outcome) else self.store(item, opened)

    def _open(self, item: ImportItem) -> IO[bytes]:
        if item.url:
            is_video = names.is_video(item.name)
            return downloads.fetch_video(item.url) if is_video else downloads.fetch(item.url)
        original = self._original(item)
        if original is not None:
            return self.source.open_original(original)
        return self.source.open(item.key)

    def _original(self, item: ImportItem) -> Original | None:
        """Return where the item is to stay; None: it is copied, as every video is."""
        if item.url or names.is_video(item.name):
            return None
        return self.source.original(item.key, item.version)

    def _store(self, item: ImportItem, file: IO[bytes]) -> Outcome:
        new = self._new_image(item, file)
        if self.run.is_dry_run:
            held = intake.look_at(new)
            state = ItemState.NEW if held is None else ItemState.HELD
            return self._wrote(item, state, image=held)
        try:
            added = intake.add_file(new, note=partial(_note, item))
        except _NotWaiting:
            return Outcome(name=item.name, state=None)
        return Outcome(name=item.name, state=_state_of(added))

    def _new_image(self, item: ImportItem, file: IO[bytes]) -> NewImage:
        try:
            about = Description.from_json(item.about)
        except (TypeError, ValueError) as error:
            raise ImageRefused("What is said about it cannot be read.") from error
        said = about.over(Description.from_json(self.run.defaults))
        return NewImage(
            file=file,
            owner=self.run.owner,
            original_name=item.name,
            original=self._original(item),
            import_run=self.run,
            **{one.name: getattr(said, one.name) for one in fields(Description)},
        )

    def _failed(self, item: ImportItem, reason: str) -> Outcome:
        sentence = texts.printable(reason)[:1000]
        return self._wrote(item, ItemState.FAILED, reason=sentence)

    def _wrote(self, item: ImportItem, state: ItemState, **values: object) -> Outcome:
        waiting = ImportItem.objects.filter(pk=item.pk, state=ItemState.WAITING)
        values |= {"state": state, "changed_at": timezone.now()}
        written = patient(lambda: waiting.update(**values))
        reason = str(values.get("reason", ""))
        return Outcome(name=item.name, state=state if written else None, reason=reason)


def fail_hopeless(run: ImportRun) -> int:
    """Fail the items whose process died each time they were opened. Return how many."""
    most = settings.JOB_MAX_ATTEMPTS
    hopeless = run.items.filter(state=ItemState.WAITING, attempts__gte=most)
    return hopeless.update(
        state=ItemState.FAILED,
        reason=f"The import died {most} times with this file open; the server's log tells more.",
        changed_at=timezone.now(),
    )


def _note(item: ImportItem, added: Added) -> None:
    """Write down what became of the item, in the transaction that makes its image."""
    waiting = ImportItem.objects.filter(pk=item.pk, state=ItemState.WAITING)
    written = waiting.update(
        state=_state_of(added),
        image=added.image,
        video=added.image.video,
        about={},
        reason="",
        changed_at=timezone.now(),
    )
    if not written:
        raise _NotWaiting


def _state_of(added: Added) -> ItemState:
    return ItemState.NEW if added.is_new else ItemState.HELD


def _tried(act: Callable[[], Result]) -> Result:
    """Try what may pass again, after a moment."""
    for attempt in range(1, TRIES):
        try:
            return act()
        except _GONE:
            raise
        except OSError as error:
            _raise_if_full(error)
            time.sleep(PAUSE_SECONDS * attempt)
    try:
        return act()
    except OSError as error:
        _raise_if_full(error)
        raise


def _raise_if_full(error: OSError) -> None:
    if error.errno in errnos.LACK:
        raise StorageUnavailable(f"Files cannot be opened here: {error.strerror}.") from error


def _raise_if_away(item: ImportItem, error: OSError) -> None:
    if not item.url:  # of an address it says nothing: others answer
        check_error(error)


def _sentence(error: OSError) -> str:
    return f"The file cannot be read: {error.strerror or error}."
