"""Sources of many images. A source lists items and opens them, and does nothing else.

It stores nothing, checks no image and knows no other source: `gallery.imports` keeps the ledger
and feeds what is opened to `ingest.add_image`. A new one is a module in this package and a line in
`registry.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, ClassVar

from pydantic import BaseModel, ConfigDict

from gallery import errnos
from gallery.descriptions import Description
from gallery.storage.originals import Original


@dataclass(frozen=True, kw_only=True)
class Item:
    """An image as its source has it, without its bytes.

    `key` is what the source calls it: unique there, and the same whenever the source is read.
    `version` changes whenever the bytes may have (size and time of a file, an ETag); "" when the
    source cannot tell. `url`: where the bytes are when the source does not have them itself.
    """

    key: str
    name: str
    version: str = ""
    url: str = ""
    about: Description = field(default_factory=Description)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """What a source leaves out by a rule, and which."""

    key: str
    reason: str


class SourceUnreadable(Exception):
    """The source itself cannot be read: a sentence that says what to do. No item is at fault."""


class SourceAway(SourceUnreadable):
    """The source does not answer now. It is asked again for a while, by itself."""


class ItemUnreadable(Exception):
    """One item cannot be had from its source: a sentence for the ledger. Others can."""


def check_error(error: OSError) -> None:
    """Raise SourceAway or SourceUnreadable where an error of the system is no one file's fault."""
    if error.errno in errnos.AWAY:
        raise SourceAway(f"The source does not answer: {error.strerror}.") from error
    if error.errno in errnos.LACK:
        raise SourceUnreadable(f"Files cannot be opened here: {error.strerror}.") from error


class Source(BaseModel, ABC):
    """Where images come from. Its fields are its options: typed, checked, written to the ledger.

    Their descriptions are the help of the command line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    kind: ClassVar[str]  # its name on the command line and in the ledger
    # Whether `open` waits for a network or unpacks: then more items are opened at once.
    opens_slowly: ClassVar[bool] = False
    # Whether `items` goes on for ever, as one that watches: then only a command works on it.
    is_endless: ClassVar[bool] = False

    @property
    @abstractmethod
    def title(self) -> str:
        """What it reads, for people: a path, an address."""

    @property
    def place(self) -> str:
        """What the keys of its items are relative to; two sources of one place name alike."""
        return f"{self.kind}:{self.title}"

    @abstractmethod
    def items(self) -> Iterator[Item | Skipped]:
        """List all there is, without opening an image and without holding all in memory.

        Called anew after a crash; the order may differ then. Raise SourceUnreadable.
        """

    @abstractmethod
    def open(self, key: str) -> IO[bytes]:
        """Return the bytes of an item, seekable; of any that was listed, also by another process.

        Called from several threads at once. Raise ItemUnreadable, SourceUnreadable, or OSError
        for what may pass.
        """

    def original(self, key: str, version: str) -> Original | None:
        """Say where an item stays, when the gallery is only to refer to it; None: it is copied."""
        return None

    def open_original(self, original: Original) -> IO[bytes]:
        """Return the bytes of an item that stays, in the version that was listed. As `open`."""
        return self.open(original.key)

    def is_bare(self) -> bool:
        """Whether nothing at all is where it reads, as where a disk is not mounted."""
        return False

    def stop(self) -> None:
        """Let `items`, on another thread, come to its end soon."""
