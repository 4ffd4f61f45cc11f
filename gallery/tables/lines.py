"""Lines of text files of unknown origin: their encoding, and a bound on their length."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import IO, Any, Literal

from gallery.importers import SourceUnreadable

Encoding = Literal[
    "auto", "utf-8", "utf-16-le", "utf-16-be", "latin-1", "cp1250", "cp1251", "cp1252",
    "koi8-r", "shift_jis", "euc_jp", "euc_kr", "gb18030", "big5",
]  # fmt: skip

MAX_LINE = 2**20  # characters
MAX_ROW = 2**22  # characters of all the lines of one row
MAX_DEPTH = 50  # of values within values

_MARKS = {b"\xff\xfe\0\0": "", b"\0\0\xfe\xff": "", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class RowTooLong(Exception):
    """A line, or the lines of one row together, are longer than anything that is meant."""


class Lines:
    """The lines of a file with their ends, decoded; `number` is that of the last one.

    `read` is how many characters they had.

    Bytes that are not UTF-8 come out as lone surrogates, so that they spoil their own row alone
    (`unstorable` finds them). In another encoding they raise SourceUnreadable.
    """

    def __init__(self, file: IO[bytes], encoding: Encoding = "auto") -> None:
        self.number = self.read = 0
        self._row_length = 0
        self._encoding = _encoding_of(file) if encoding == "auto" else encoding
        if self._encoding == "utf-8":
            self._encoding = "utf-8-sig"
        is_utf_8 = self._encoding == "utf-8-sig"
        self._text = io.TextIOWrapper(
            file,
            encoding=self._encoding,
            errors="surrogateescape" if is_utf_8 else "strict",
            newline="",
        )

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == MAX_LINE and line[-1] not in "\r\n":
            while (rest := self._read()) and rest[-1] not in "\r\n":
                pass
            raise RowTooLong
        self.read += len(line)
        self._row_length += len(line)
        if self._row_length > MAX_ROW:
            raise RowTooLong
        return line

    def begin_row(self) -> None:
        """Count the characters of a row from here."""
        self._row_length = 0

    def _read(self) -> str:
        try:
            return self._text.readline(MAX_LINE)
        except UnicodeError as error:
            raise SourceUnreadable(
                f"The text after line {self.number:,} is not {self._encoding}; "
                "save the file as UTF-8, or say its encoding."
            ) from error


def _encoding_of(file: IO[bytes]) -> str:
    start = file.read(4)
    file.seek(0)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            if not encoding:
                raise SourceUnreadable("The file is UTF-32 text; save it as UTF-8.")
            return encoding
    if b"\0" in start:
        raise SourceUnreadable(
            "The file is no text, or UTF-16 without a mark: save it as UTF-8, or say its encoding "
            "(utf-16-le, utf-16-be)."
        )
    return "utf-8"


def unstorable(text: str) -> str:
    """Return why Postgres could not hold the text, as what follows “it”; "" where it can."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text; save the file as UTF-8, or say its encoding"
    return ""


def unstorable_within(value: Any) -> str:
    """Return the same of any text within a value of mappings and sequences."""
    try:
        return unstorable("".join(_texts(value, MAX_DEPTH)))
    except RecursionError:
        return "is nested too deeply"


def _texts(value: Any, depth: int) -> Iterator[str]:
    if not depth:
        raise RecursionError
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, within in value.items():
            yield str(name)
            yield from _texts(within, depth - 1)
    elif isinstance(value, list | tuple):
        for within in value:
            yield from _texts(within, depth - 1)
