"""Where encoders come from: the files that a name means, and what identifies them.

What can be a name says `names`; what may lie in a folder, `folders`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings

from embeddings.encoders import folders, revisions
from embeddings.encoders.framing import Manner
from embeddings.encoders.names import BUNDLED, EncoderName
from embeddings.errors import EncoderUnavailable

log = logging.getLogger(__name__)

__all__ = ["BUNDLED", "Source", "choose", "find"]

MAIN = "main"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"
DEFAULT_HUB_ID = "openai/clip-vit-base-patch32"
_HUB_ID = re.compile(r"([\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)
_BETWEEN = "+"  # the revisions of a pair
_LONGEST_ID = 40


@dataclass(frozen=True)
class Source:
    """The files of an encoder, and what identifies them."""

    name: str
    revision: str
    folder: Path
    text_folder: Path | None = None  # of texts, where another encoder has them
    manner: Manner = Manner.TRAINED

    @property
    def folders(self) -> tuple[Path, ...]:
        """All of them, that of images first."""
        return (self.folder,) if self.text_folder is None else (self.folder, self.text_folder)

    @property
    def title(self) -> str:
        """What to call the files, however images are looked at."""
        called = EncoderName.parse(self.name)
        return replace(called, manner=Manner.TRAINED).title.rpartition("/")[2]

    @property
    def files_id(self) -> str:
        """The revision, short enough for the name of a file."""
        if len(self.revision) <= _LONGEST_ID:
            return self.revision
        return hashlib.sha256(self.revision.encode()).hexdigest()[:_LONGEST_ID]


def find(name: str, *, revision: str = MAIN) -> Source:
    """Return the files that a name means, fetching them from the hub if need be.

    Of a pair the revision is that of both, with a + between, or one that holds for each.
    Raise EncoderUnavailable with a sentence when they cannot be had.
    """
    called = EncoderName.parse(name)
    wanted = revision.split(_BETWEEN)
    if len(wanted) != len(called.parts):
        wanted = [revision] * len(called.parts)
    parts = zip(called.parts, wanted, strict=True)
    return _joined(called, [_local(part) or _fetched(part, one) for part, one in parts])


def _joined(called: EncoderName, found: Sequence[Source]) -> Source:
    """Return as one what the parts of a name mean, in their order."""
    *texts, images = found
    return Source(
        # Those of folders are absolute now.
        name=str(replace(called, image=images.name, text=texts[0].name if texts else "")),
        revision=_BETWEEN.join(source.revision for source in found),
        folder=images.folder,
        text_folder=texts[0].folder if texts else None,
        manner=called.manner,
    )


def _local(name: str) -> Source | None:
    """Return the files that a part of a name means on this machine; None for an id on the hub."""
    if name == BUNDLED:
        return Source(name, revisions.revision_of(BUNDLED_FOLDER, cache_dir()), BUNDLED_FOLDER)
    try:
        folder = Path(name).expanduser().resolve()
        if folder.is_dir():
            return Source(str(folder), revisions.revision_of(folder, cache_dir()), folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise EncoderUnavailable(f"The encoder folder {name!r} cannot be read: {error}") from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderUnavailable(f"There is no encoder folder {name}.")
    return None


def _fetched(name: str, revision: str) -> Source:
    from embeddings.encoders import hub  # a quarter of a second, for those that need it

    folder = hub.snapshot_of(name, revision)
    return Source(name, folder.name, folder)


def check(name: str) -> Source | None:
    """Return the files that a name means, without fetching any; None where the hub has some.

    What a slip of the pen would let fail after minutes is found at once. Raise EncoderUnavailable
    for folders that are not those of an encoder, and for what is no id.
    """
    called = EncoderName.parse(name)
    found = {part: _local(part) for part in called.parts}
    for part, source in found.items():
        if source is None and not _HUB_ID.fullmatch(part):
            raise EncoderUnavailable(
                f"{part[:100]!r} is neither a folder nor the id of a model on the hub."
            )
    there = [source for part in called.parts if (source := found[part]) is not None]
    if len(there) < len(called.parts):
        return None
    joined = _joined(called, there)
    folders.check(*joined.folders)
    return joined


def choose() -> Source:
    """Return the encoder for a new gallery: ENCODER, else CLIP if it can be had, else bundled."""
    if settings.ENCODER:
        return find(settings.ENCODER, revision=settings.ENCODER_REVISION)
    from embeddings.encoders import hub

    if not hub.answers() and not hub.is_cached(DEFAULT_HUB_ID):
        log.info("The model hub does not answer; the bundled encoder serves.")
        return find(BUNDLED)
    try:
        return find(DEFAULT_HUB_ID, revision=settings.ENCODER_REVISION)
    except EncoderUnavailable as error:
        log.warning("%s The bundled encoder serves.", error)
        return find(BUNDLED)


def cache_dir() -> Path:
    """Return the folder in which processes keep what they have found out about encoders."""
    return Path(settings.ENCODER_CACHE_DIR or settings.INDEX_DIR)
