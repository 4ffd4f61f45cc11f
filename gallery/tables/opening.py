"""Opening a table wherever it is, in whichever format: told by its content, not its name."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from gallery import downloads, texts
from gallery.importers import SourceUnreadable
from gallery.tables import Table
from gallery.tables.addresses import is_url, suffix
from gallery.tables.delimited import Delimited
from gallery.tables.json_lines import JsonLines
from gallery.tables.lines import Encoding
from gallery.tables.parquet import Parquet

_PARQUET = b"PAR1"
_LOOKED_AT = 1000
_PIECE_BYTES = 2**20

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a user says about a table's format where it is not recognised."""

    encoding: Encoding = "auto"
    delimiter: str = ""
    names: Sequence[str] = ()  # of the columns of a table without a header


def shown(place: str) -> str:
    """Return an address, or the name of a file: who has sent it need not know where it lies."""
    return place if is_url(place) else texts.file_name(place)


@contextmanager
def on_disk(place: str) -> Iterator[Path]:
    """Hand out the file at a path or an address. Raise SourceUnreadable where there is none."""
    if not is_url(place):
        path = Path(place)
        if not path.is_file():
            log.warning("There is no file %s", place)
            raise SourceUnreadable(f"There is no file {shown(place)}.")
        yield path
        return
    try:
        fetched = downloads.fetch_table(place)
    except downloads.DownloadFailed as error:
        raise SourceUnreadable(f"{place} cannot be fetched: {error}") from error
    with fetched, NamedTemporaryFile(prefix="table-") as file:
        while piece := fetched.read(_PIECE_BYTES):
            file.write(piece)
        file.flush()
        yield Path(file.name)


@contextmanager
def open_table(place: str, how: Format | None = None) -> Iterator[Table]:
    """Open a table at a path or an address. Raise SourceUnreadable, also while it is read."""
    with on_disk(place) as path, open_file(path) as file, ExitStack() as ending:
        yield _table(file, place, how or Format(), ending)


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read. Raise SourceUnreadable, also where reading fails later."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise SourceUnreadable(f"{shown(str(path))} cannot be read: {reason}.") from error


def _table(file: IO[bytes], place: str, how: Format, ending: ExitStack) -> Table:
    start = file.read(_LOOKED_AT)
    file.seek(0)
    if start.startswith(_PARQUET):
        return ending.enter_context(Parquet(file))
    # A byte order mark and the zeros of UTF-16 may stand before and between.
    first = start.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")[:1]
    if first == b"{":
        return JsonLines(file, encoding=how.encoding)
    if first == b"[":
        raise SourceUnreadable("The file is one JSON array; write one object a line (JSON lines).")
    return Delimited(
        file,
        encoding=how.encoding,
        delimiter=how.delimiter,
        usual=_usual_delimiter(place),
        names=how.names,
    )


def _usual_delimiter(place: str) -> str:
    # Unsplash numbers its files: photos.tsv000.
    return "\t" if suffix(place).startswith((".tsv", ".tab")) else ","
