"""A look at large JSON before a streaming parser reads it.

Such a parser writes down the path to where it is: nesting of a thousand levels takes it a thousand
times as long, and a text or an entry without an end all the memory there is.
"""

from __future__ import annotations

import re
from typing import IO

from gallery.importers import SourceUnreadable

MOST_LEVELS = 50
MOST_TEXT_BYTES = 2**20
MOST_ENTRY_BYTES = 2**22  # of what is read at once: an object or list within a table of the file

_PIECE_BYTES = 2**18
_LEVELS_ABOVE = 2  # of an entry: the file itself and its table
# A whole text, which goes, or one whose end is not read yet, of which the quote stays. Possessive:
# each byte is looked at twice at most.
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"|(")(?:[^"\\]|\\.)*+\\?\Z', re.DOTALL)
_DIGITS = b"0123456789.eE+-"
_ALL_BUT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


def check(file: IO[bytes]) -> None:
    """Read the file to its end. Raise SourceUnreadable where it is too deep, or a part too long."""
    depth = text_bytes = entry_bytes = 0
    start = b""  # of a text whose end is not read yet: its quote, and a backslash before the cut
    while piece := file.read(_PIECE_BYTES):
        piece = start + piece
        between = _TEXT.sub(rb"\1", piece)
        start = b""
        if between.endswith(b'"'):
            start = b'"' + b"\\" * ((len(piece) - len(piece.rstrip(b"\\"))) % 2)
        is_one = between == b'"' or not between.strip(_DIGITS)
        text_bytes = text_bytes + len(piece) if is_one else 0
        if text_bytes > MOST_TEXT_BYTES:
            raise SourceUnreadable(
                f"The JSON holds a text of more than {MOST_TEXT_BYTES:,} bytes, or such a number."
            )
        brackets = _unpaired(between.translate(None, _ALL_BUT_BRACKETS))
        opening = brackets.count(b"[") + brackets.count(b"{")
        if depth + opening > MOST_LEVELS:
            raise SourceUnreadable(f"The JSON is nested more than {MOST_LEVELS} levels deep.")
        is_within = depth - (len(brackets) - opening) > _LEVELS_ABOVE
        entry_bytes = entry_bytes + len(piece) if is_within else 0
        if entry_bytes > MOST_ENTRY_BYTES:
            raise SourceUnreadable(
                f"An entry of the JSON has more than {MOST_ENTRY_BYTES:,} bytes."
            )
        depth = max(0, depth + 2 * opening - len(brackets))


def _unpaired(brackets: bytes) -> bytes:
    """Return the brackets without the pairs of up to MOST_LEVELS levels."""
    for _ in range(MOST_LEVELS):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    return brackets
