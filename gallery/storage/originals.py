"""What is known of an original that lies elsewhere, and how it fails to be there."""

from __future__ import annotations

import errno
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Original:
    """A file in a place of others: which, and in which version we know it."""

    address: str  # of the place: a folder, or s3://bucket/prefix?options
    key: str
    version: str
    is_anonymous: bool = False


class OriginalReplaced(FileNotFoundError):
    """Another file is where the original was. It is not there any more, and that one is not it."""

    def __init__(self) -> None:
        super().__init__(errno.ENOENT, "another file has taken the place of the original")


class FileTooLarge(OSError):
    """A file is larger than was asked for; nothing of it was kept."""

    def __init__(self) -> None:
        super().__init__(errno.EFBIG, "the file is too large")
