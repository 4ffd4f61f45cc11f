"""Does every row have its files, and every file its row? Found by reading both side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.utils import timezone

from gallery import originals, thumbnails
from gallery.decoding import decoders
from gallery.decoding.processes import DecodersUnavailable
from gallery.errors import GalleryError, ImageRefused, StorageUnavailable
from gallery.models import Image
from gallery.storage import outside
from gallery.storage.deleting import delete_files
from gallery.storage.flows import in_parallel, side_by_side
from gallery.storage.hashes import wrong_bytes
from gallery.storage.listings import (
    NamedFile,
    StoredFile,
    count_named_files,
    is_named,
    is_ours,
    named_among,
    named_files,
    stored_files,
)

# A file is written before its row: younger ones may belong to an upload that is under way.
ORPHAN_AGE = timedelta(hours=1)
_ORPHANS_AT_ONCE = 500  # are looked for in the rows once more
# More than so many, and than a tenth of the files that rows name, look like another gallery's.
FEW_ORPHANS = 20
OUTSIDE = "image.reference"
_EDGE_BY_FIELD = {
    "image.thumbnail_small": thumbnails.SMALL,
    "image.thumbnail_large": thumbnails.LARGE,
}


class OrphansTooMany(GalleryError):
    """So many files seem orphaned that the database may be the wrong one."""


class Wrong(StrEnum):
    ORPHANED = "orphaned"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong with a file, and whether it is no longer."""

    wrong: Wrong
    name: str
    reason: str
    field: str = ""  # that names it, as "image.file"
    id: int | None = None  # of the row
    is_repaired: bool = False

    @property
    def is_outside(self) -> bool:
        """Whether the file is in a place of others, where nothing is repaired."""
        return self.field == OUTSIDE

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Compared(NamedTuple):
    """What a row and the storage have under one name, and what seems wrong with it."""

    named: NamedFile | None
    stored: StoredFile | None
    wrong: tuple[Wrong, str] | None


@dataclass(frozen=True, kw_only=True)
class Check:
    """A look at all files of a storage and all rows, that may also repair."""

    storage: Storage
    repairs: bool = False
    hashes: bool = False  # read every file whose hash a row knows
    threads: int = 8
    deletes_many: bool = False  # orphans, however many there are
    keeps_orphans: bool = False  # they are told, and stay where they are

    def run(self) -> Iterator[list[Finding]]:
        """Look at every name; yield what is wrong with it, and what was held back before it.

        Raise OrphansTooMany before anything is repaired; StorageUnavailable when the storage cannot
        be listed, and PlacesUnread at the very end: what came before is repaired then.
        """
        yield from self.own()
        yield from self._outside()

    def own(self) -> Iterator[list[Finding]]:
        """Look at the names of the storage alone, and at no place of others. Raise as `run`."""
        orphans: list[StoredFile] = []
        try:
            if self._deletes and not self.deletes_many:
                self._refuse_many_orphans()
            rows = side_by_side(named_files(), stored_files(self.storage))
            pairs = (row for _, row in rows)
            # Threads read files; the database is asked by this one alone.
            for one in in_parallel(self._compare, pairs, threads=self._threads):
                findings = list(self._confirmed(one))
                if one.named is None and one.stored is not None and _is_orphan(one.stored):
                    orphans.append(one.stored)
                if len(orphans) >= _ORPHANS_AT_ONCE:
                    findings += self._orphaned(orphans)
                    orphans = []
                yield findings
            yield list(self._orphaned(orphans))
        except OSError as error:
            raise StorageUnavailable(f"The storage cannot be read: {error}.") from error

    def _outside(self) -> Iterator[list[Finding]]:
        """Look at the originals in places of others. Nothing is repaired there."""
        for seen in outside.look(hashes=self.hashes, threads=self.threads):
            if not seen.reason or not outside.is_known(seen):
                yield []
                continue
            advice = "Put it back, import from its new place, or delete the image."
            yield [
                Finding(
                    wrong=Wrong.MISSING if seen.is_missing else Wrong.DAMAGED,
                    name=seen.name,
                    reason=f"{seen.reason} {advice}",
                    field=OUTSIDE,
                    id=seen.known.id,
                )
            ]

    def _refuse_many_orphans(self) -> None:
        most = max(FEW_ORPHANS, count_named_files() // 10)
        rows = side_by_side(named_files(), stored_files(self.storage))
        orphans = (1 for _, (named, stored) in rows if named is None and _is_orphan(stored))
        if len(list(islice(orphans, most + 1))) > most:
            raise OrphansTooMany(
                f"More than {most:,} files seem orphaned. Nothing is deleted: look whether the "
                "database and STORAGE_URL belong together, or give --all."
            )

    @property
    def _deletes(self) -> bool:
        return self.repairs and not self.keeps_orphans

    @property
    def _threads(self) -> int:
        # Comparing two lists waits for nobody; threads would only cost.
        return self.threads if self.hashes else 1

    def _compare(self, row: list[Any]) -> Compared:
        named, stored = row
        return Compared(named, stored, self._wrong(named, stored) if named else None)

    def _wrong(self, named: NamedFile, stored: StoredFile | None) -> tuple[Wrong, str] | None:
        if stored is None:
            # A folder is read before its newest files are in it.
            if self.storage.exists(named.name):
                return None
            return Wrong.MISSING, "The storage does not have it."
        if named.bytes not in (None, stored.bytes) or not stored.bytes:
            return Wrong.DAMAGED, f"It has {stored.bytes:,} bytes, not those that were stored."
        if self.hashes and named.sha256 is not None:
            opened = partial(self.storage.open, named.name, "rb")
            if reason := wrong_bytes(opened, named.sha256):
                return Wrong.DAMAGED, reason
        return None

    def _orphaned(self, files: list[StoredFile]) -> Iterator[Finding]:
        # Rows were read before files: what came in between is not an orphan.
        named = named_among([file.name for file in files]) if files else set()
        orphans = [file.name for file in files if file.name not in named]
        resisted = delete_files(self.storage, orphans) if self._deletes else orphans
        for name in orphans:
            yield Finding(
                wrong=Wrong.ORPHANED,
                name=name,
                reason="No row names it.",
                is_repaired=name not in resisted,
            )

    def _confirmed(self, one: Compared) -> Iterator[Finding]:
        if one.named is None or one.wrong is None or not is_named(one.named):
            return
        kind, reason = one.wrong
        named = one.named
        finding = partial(Finding, wrong=kind, name=named.name, field=named.field, id=named.id)
        yield self._repaired(named, finding, reason)

    def _repaired(self, named: NamedFile, finding: Callable[..., Finding], reason: str) -> Finding:
        if not self.repairs:
            return finding(reason=reason)
        if named.field not in _EDGE_BY_FIELD:
            return finding(reason=f"{reason} Bring it back from a backup, or delete the image.")
        try:
            self._make_thumbnail(named)
        except (ImageRefused, OSError, DecodersUnavailable, Image.DoesNotExist) as error:
            return finding(reason=f"{reason} It cannot be made anew: {error}")
        return finding(reason=reason, is_repaired=True)

    def _make_thumbnail(self, named: NamedFile) -> None:
        known = originals.with_places(Image.objects.only(*originals.FIELDS))
        image = known.get(pk=named.id)
        with originals.opened(image) as file:
            studied = decoders.study(file)
        self.storage.delete(named.name)  # a damaged one; else a folder would choose another name
        content = studied.thumbnails[_EDGE_BY_FIELD[named.field]]
        self.storage.save(named.name, ContentFile(content))


def _is_orphan(file: StoredFile) -> bool:
    return is_ours(file.name) and file.modified_at < timezone.now() - ORPHAN_AGE
