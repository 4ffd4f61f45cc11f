"""What reads strangers' files, each given a spoiled one. It returns how that ended, in a few words.

Whatever is raised here is a fault.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from gallery.decoding import decoders
from gallery.decoding.processes import DecoderDied
from gallery.errors import ImageRefused
from gallery.exif import Exif
from gallery.importers import Item, ItemUnreadable, Skipped, Source, SourceUnreadable
from gallery.importers.archive import Archive, open_archives
from gallery.importers.coco import Coco
from gallery.importers.openimages import OpenImages
from gallery.importers.tables import Table
from gallery.importers.urls import Urls
from gallery.tables import BadRow
from gallery.tables.columns import describe, recognise
from gallery.tables.parquet import Heard
from gallery.tables.parquet_child import said
from gallery.trees.sidecars import SidecarBroken, Sidecars, parse
from tests.fuzz import mutations, seeds
from tests.fuzz.mutations import Mutate
from tests.gallery.importers.listing import fits

_MOST_ITEMS = 20_000  # that a small file may list


@dataclass(frozen=True)
class Target:
    seeds: Callable[[], list[bytes]]
    ways: tuple[Mutate, ...]
    read: Callable[[bytes], str]


def _image(content: bytes) -> str:
    try:
        studied = decoders.study(io.BytesIO(content))
    except DecoderDied as died:
        raise AssertionError(str(died)) from died
    except ImageRefused as refused:
        return _sentence(refused)
    assert 0 < studied.width <= 65_535
    assert 0 < studied.height <= 65_535
    assert all(thumbnail.startswith(b"RIFF") for thumbnail in studied.thumbnails.values())
    decoders.open_stored(io.BytesIO(content), edge=64)  # what was taken in can be embedded
    return f"{studied.mime_type}, {min(studied.frames, 2)} frames, {studied.exif != Exif()}"


def _list(make: Callable[[str], Source]) -> Callable[[bytes], str]:
    def read(content: bytes) -> str:
        with TemporaryDirectory(prefix="fuzz-") as folder:
            path = Path(folder, "list")
            path.write_bytes(content)
            return _listed(make(str(path)))

    return read


def _listed(source: Source) -> str:
    heard: set[str] = set()
    try:
        for number, one in enumerate(source.items()):
            assert number < _MOST_ITEMS, "it lists far too much"
            fits(one)
            heard.add(_sentence(one.reason) if isinstance(one, Skipped) else _said(one))
    except SourceUnreadable as error:
        heard.add(_sentence(error))
    return _all(heard)


def _parquet(content: bytes) -> str:
    """Without the process, whose start takes a hundred times as long."""
    heard: set[str] = set()
    try:
        table = Heard(said(io.BytesIO(content)))
        columns = recognise(table.columns, {})
        for row in islice(table.rows(), _MOST_ITEMS):
            if isinstance(row, BadRow):
                heard.add(_sentence(row.reason))
                continue
            item = Item(key="a", name="a.jpg", about=describe(row.cells, columns))
            fits(item)
            heard.add(_said(item))
    except SourceUnreadable as error:
        heard.add(_sentence(error))
    return _all(heard)


def _open_images(content: bytes) -> str:
    """The tables in one file, an empty line between two."""
    with TemporaryDirectory(prefix="fuzz-") as folder:
        paths = []
        for number, table in enumerate(content.split(b"\n\n", 3)):
            paths.append(Path(folder, f"{number}.csv"))
            paths[-1].write_bytes(table)
        return _listed(OpenImages(tables=tuple(map(str, paths))))


def _sidecar(content: bytes) -> str:
    heard = set()
    for name in ("a.jpg.json", "a.txt"):
        try:
            found = parse(name, content)
        except SidecarBroken as error:
            heard.add(_sentence(error))
        else:
            fits(Item(key="a.jpg", name="a.jpg", about=found.about))
            heard.add(f"{found.is_takeout}, {found.is_trashed}, {bool(found.title)}")
    album = Sidecars(["metadata.json"], lambda _: content).album()
    return _all({*heard, f"album {bool(album)}"})


def _archive(content: bytes) -> str:
    with TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder, "archive")
        path.write_bytes(content)
        source = Archive(path=str(path), folders="albums")
        try:
            heard = {_listed(source)}
            for one in _items(source):
                try:
                    with source.open(one.key) as file:
                        heard.add(f"opens {bool(file.read())}")
                except ItemUnreadable as error:
                    heard.add(_sentence(error))
            return _all(heard)
        finally:
            open_archives.forget()


def _items(source: Source) -> list[Item]:
    try:
        return [one for one in source.items() if isinstance(one, Item)]
    except SourceUnreadable:
        return []


def _said(item: Item) -> str:
    about = item.about.to_json()
    return f"item {bool(item.url)} {','.join(sorted(about))}"


def _sentence(error: object) -> str:
    """Return the sentence without what differs from file to file."""
    text = str(error)
    assert text.strip(), "a reason without a word"
    text = re.sub(r"“.*”|'.*'|\".*\"|[^\x20-\x7e]+", "*", text)
    return re.sub(r"[0-9][0-9,.]*", "0", text)[:80]


def _all(heard: Iterable[str]) -> str:
    return "; ".join(sorted(heard))[:1000]


_BYTES = (mutations.bytes_at_random, mutations.numbers)
_TEXT = (mutations.text, mutations.text, mutations.bytes_at_random)
_JSON = (mutations.json_values, mutations.json_values, *_TEXT)

TARGETS = {
    "image": Target(seeds.images, (*_BYTES, mutations.png), _image),
    "delimited": Target(
        seeds.delimited, (*_TEXT, mutations.cells), _list(lambda path: Table(file=path))
    ),
    "json_lines": Target(seeds.json_lines, _JSON, _list(lambda path: Table(file=path))),
    "parquet": Target(seeds.tables_in_parquet, _BYTES, _parquet),
    "coco": Target(seeds.coco, _JSON, _list(lambda path: Coco(annotations=(path,)))),
    "open_images": Target(
        lambda: [b"\n\n".join(seeds.open_images()[:4]), b"\n\n".join(seeds.open_images()[4:])],
        (*_TEXT, mutations.cells, mutations.json_values),
        _open_images,
    ),
    "urls": Target(seeds.urls, _TEXT, _list(lambda path: Urls(file=path))),
    "sidecar": Target(seeds.sidecars, _JSON, _sidecar),
    "takeout": Target(seeds.takeout, _JSON, _sidecar),
    "zip": Target(seeds.zips, (*_BYTES, mutations.zip_fields, mutations.zip_fields), _archive),
    "tar": Target(seeds.tars, (*_BYTES, mutations.tar, mutations.tar), _archive),
    "packed_tar": Target(seeds.packed_tars, _BYTES, _archive),
}
