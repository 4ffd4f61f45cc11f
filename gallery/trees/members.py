"""What is in an archive: its members, and what may be had of them. Nothing is unpacked by name."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import IO, NamedTuple, Protocol

from django.conf import settings

from gallery.importers import SourceUnreadable
from gallery.trees import names

PIECE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may cost at most."""

    members: int
    total_bytes: int  # of all that may be unpacked
    member_bytes: int
    ratio: int  # unpacked to packed
    video_bytes: int = 0  # of a member that is named as a video; member_bytes where that is more

    def most_of(self, path: str) -> int:
        """Return how many bytes a member of this path may have."""
        is_video = names.is_video(path.rpartition("/")[2])
        return max(self.member_bytes, self.video_bytes) if is_video else self.member_bytes


class Member(NamedTuple):
    path: str  # with slashes, without "..": it only tells folders and suffix
    key: str
    size: int
    version: str
    skip: str = ""  # why it is left out by rule
    failure: str = ""  # why it cannot be had


class Members(Protocol):
    """An open archive. Its members may be opened from several threads."""

    by_key: dict[str, Member]
    copied_bytes: int  # on disk, beside the archive

    def version(self, member: Member) -> str:
        """Return what changes whenever the member's bytes do."""

    def open(self, member: Member) -> IO[bytes]:
        """Return the member's bytes, seekable. Raise ItemUnreadable."""

    def read(self, member: Member, size: int) -> bytes:
        """Return the first bytes. Raise ItemUnreadable."""


class Register:
    """Gives members their keys, and counts them."""

    def __init__(self, limits: Limits) -> None:
        self.by_key: dict[str, Member] = {}
        self._limits = limits
        self._total_bytes = 0
        self._seen = 0
        self._namesakes: Counter[str] = Counter()  # beside the first of a name

    def count(self) -> None:
        """Count one more, of any kind. Raise SourceUnreadable when there are too many."""
        self._seen += 1
        if self._seen > self._limits.members:
            raise SourceUnreadable(
                f"The archive has more than {self._limits.members:,} members: split it, or raise "
                "ARCHIVE_MAX_MEMBERS."
            )

    def add(self, name: str, member: Member) -> str:
        """Take a member in under a key of its name; return the key. Raise SourceUnreadable."""
        if not member.skip and not member.failure and _is_wanted(member.path):
            self._total_bytes += member.size
            if self._total_bytes > self._limits.total_bytes:
                raise SourceUnreadable(too_large(self._limits))
        # No key of a name has a lone backslash, so that a numbered one is no other name's.
        key = unique = names.key_of(name)
        if key in self.by_key:
            self._namesakes[key] += 1
            unique = f"{key}\\#{self._namesakes[key] + 1}"
        self.by_key[unique] = member._replace(key=unique)
        return unique


def too_large(limits: Limits) -> str:
    return (
        f"The archive unpacks to more than {limits.total_bytes / 1e9:,.3g} GB: split it, or raise "
        "ARCHIVE_MAX_GIGABYTES."
    )


def folded(name: str) -> str:
    """Return a member's name as a path inside the archive, wherever it wants to lead."""
    if "/" not in name:
        name = name.replace("\\", "/")  # as some Windows programs write them
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def spool() -> IO[bytes]:
    """Return a file that lies in memory while it is small."""
    return tempfile.SpooledTemporaryFile(PIECE_BYTES, dir=settings.FILE_UPLOAD_TEMP_DIR)


def _is_wanted(path: str) -> bool:
    name = path.rpartition("/")[2]
    return names.is_taken(name) or names.suffix_of(name) in (".json", ".txt")
