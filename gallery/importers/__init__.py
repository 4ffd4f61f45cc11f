"""Sources of many images. An importer yields items and does nothing else.

It stores nothing, checks nothing and knows no other importer: `intake` feeds its items to
`ingest.add_image`. A new one is a module in this package and a line in `manage.py import_images`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Item:
    """An image as its source has it. `open` is called once, maybe on another thread."""

    name: str
    open: Callable[[], IO[bytes]]
    caption: str = ""
    tags: tuple[str, ...] = ()
    album: str = ""
    category: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source_url: str = ""
    licence: str = ""
    attribution: str = ""
    visibility: str = ""
    taken_at: datetime | None = None
    captions: tuple[tuple[str, str], ...] = ()


class Importer(Protocol):
    def __len__(self) -> int:
        """How many items there are, for the progress bar."""

    def __iter__(self) -> Iterator[Item]: ...
