"""Items of the files in one folder, whether it is on disk or in an archive."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from pathspec import GitIgnoreSpec
from pydantic import Field, field_validator

from gallery import texts
from gallery.descriptions import Description
from gallery.importers import Item, ItemUnreadable, Skipped, Source
from gallery.trees import names, takeout
from gallery.trees.sidecars import Said, Sidecars

_MAX_PATTERNS = 100
# Live photos: IMG_1.HEIC and beside it IMG_1.MOV, of some seconds. An MP4 beside a JPEG is more
# often a film and its poster.
_HEIC = frozenset({".heic", ".heif"})
_PHOTO_SUFFIXES = _HEIC | {".jpg", ".jpeg"}
_PHOTOS_BY_MOVING = {".mov": _PHOTO_SUFFIXES, ".mp4": _HEIC}
_MOST_MOVING_BYTES = 30 * 10**6  # what is larger is no moment
_MAX_ALBUM, _MAX_FOLDER_TAGS = 200, 20


class File(NamedTuple):
    name: str
    key: str


class Shelf(Protocol):
    """One folder with its files."""

    @property
    def path(self) -> str:
        """Return its path in the whole, "" for the whole."""

    @property
    def files(self) -> Sequence[File]:
        """Return its files in the order of their names."""

    def size(self, file: File) -> int:
        """Return how large a file says it is, 0 for one that cannot be looked at."""

    def version(self, file: File) -> str:
        """Return the item's version. Raise ItemUnreadable for what should be skipped."""

    def read(self, name: str) -> bytes:
        """Return a small file, or a little more than MAX_BYTES of it. Raise ItemUnreadable."""


class Tree(Source):
    """Folders of files: what they are called, and what lies beside them, describes the images."""

    folders: Literal["", "tags", "albums"] = Field(
        default="", description="make the names of the sub-folders tags, or albums"
    )
    ignore: tuple[str, ...] = Field(
        default=(), description="leave out what the pattern names, as in .gitignore; repeatable"
    )
    sidecars: bool = Field(
        default=True, description="read what .json and .txt files beside the images say"
    )

    @field_validator("ignore")
    @classmethod
    def are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if len(patterns) > _MAX_PATTERNS or any(len(pattern) > 500 for pattern in patterns):
            raise ValueError(f"at most {_MAX_PATTERNS} patterns of 500 characters")
        GitIgnoreSpec.from_lines(patterns)  # raises ValueError
        return patterns

    def why_ignored(self, path: str) -> str:
        """Return why a path is left out, "" where it is not; a folder's ends with a slash."""
        if not self.ignore or not (index := self._ignored.check_file(path)).include:
            return ""
        pattern = self.ignore[index.index] if index.index is not None else ""
        return f"Left out by the pattern {pattern}"

    def items_of(
        self, shelf: Shelf, *, only: Container[str] | None = None
    ) -> Iterator[Item | Skipped]:
        """Yield what one folder has, in the order of names; with `only`, of those names alone."""
        images = []
        for file in shelf.files:
            if names.is_hidden(file.name) or (only is not None and file.name not in only):
                continue
            if names.is_taken(file.name):
                images.append(file)
            elif reason := names.why_left_out(file.name):
                yield Skipped(key=file.key, reason=reason)
        if not images:
            return
        beside = Sidecars((file.name for file in shelf.files) if self.sidecars else (), shelf.read)
        shelved = _Shelved(shelf, beside, self._from_folders(shelf.path))
        photos = _photos_by_stem(shelf.files)
        for file in images:
            if reason := self.why_ignored(joined(shelf.path, file.name)):
                yield Skipped(key=file.key, reason=reason)
            elif still := self._still_of(shelf, file, photos):
                reason = f"The moving part of {names.shown(still)}, which is imported."
                yield Skipped(key=file.key, reason=reason)
            else:
                yield from shelved.items(file)

    def _still_of(self, shelf: Shelf, file: File, photos: Mapping[str, list[str]]) -> str:
        """Return the photo that a telephone took together with a short video, "" for other files.

        A photo that is left out itself takes no video with it.
        """
        suffixes = _PHOTOS_BY_MOVING.get(names.suffix_of(file.name), frozenset())
        beside = photos.get(names.stem_of(file.name), ()) if suffixes else ()
        for name in beside:
            is_taken = not self.why_ignored(joined(shelf.path, name))
            if names.suffix_of(name) in suffixes and is_taken:
                return name if shelf.size(file) <= _MOST_MOVING_BYTES else ""
        return ""

    @cached_property
    def _ignored(self) -> GitIgnoreSpec:
        return GitIgnoreSpec.from_lines(self.ignore)

    def _from_folders(self, path: str) -> Description:
        """Return what the names of the folders say, where that is asked for."""
        if not self.folders or not path:
            return Description()
        shown = [name for part in path.split("/") if (name := texts.printable(part).strip(". "))]
        if self.folders == "tags":
            return Description(tags=tuple(part[:100] for part in shown[-_MAX_FOLDER_TAGS:]))
        album = " / ".join(shown)
        return Description(
            album=album if len(album) <= _MAX_ALBUM else f"…{album[1 - _MAX_ALBUM :]}"
        )


class _Shelved:
    """The images of one folder, with what is said of them."""

    def __init__(self, shelf: Shelf, beside: Sidecars, from_folders: Description) -> None:
        self._shelf, self._beside = shelf, beside
        self._from_folders = from_folders

    def items(self, file: File) -> Iterator[Item | Skipped]:
        try:
            version = self._shelf.version(file)
        except ItemUnreadable as error:
            yield Skipped(key=file.key, reason=str(error))
            return
        said = self._beside.of(file.name)
        for name, problem in said.problems:
            yield Skipped(key=names.key_of(joined(self._shelf.path, name)), reason=problem)
        if said.is_trashed:
            yield Skipped(key=file.key, reason="It was in the trash of Google Photos.")
            return
        yield Item(
            key=file.key, name=_name(file.name, said), version=version, about=self._about(said)
        )

    def _about(self, said: Said) -> Description:
        if said.is_takeout and self._album:
            said_here = said.about.over(Description(album=self._album))
            return said_here.over(self._from_folders)
        return said.about.over(self._from_folders) if self._says else said.about

    @cached_property
    def _says(self) -> bool:
        return self._from_folders != Description()

    @cached_property
    def _album(self) -> str:
        return self._beside.album()


def _photos_by_stem(files: Sequence[File]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        if names.suffix_of(file.name) in _PHOTO_SUFFIXES:
            found.setdefault(names.stem_of(file.name), []).append(file.name)
    return found


def _name(name: str, said: Said) -> str:
    """Return the image's name; Takeout cuts long ones and knows the whole."""
    is_its_own = said.title and not takeout.is_edited(name)
    whole = names.shown(said.title) if is_its_own else ""
    if whole and names.suffix_of(whole) == names.suffix_of(name):
        return whole
    return names.shown(name)


def joined(folder: str, name: str) -> str:
    """Return the path of a file in a folder of the tree."""
    return f"{folder}/{name}" if folder else name
