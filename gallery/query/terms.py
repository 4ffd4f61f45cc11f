"""Terms: the weighted parts of a query that say what the image should look like."""

from __future__ import annotations

import unicodedata
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gallery.errors import QueryInvalid

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

MAX_TEXT = 1000


@dataclass(frozen=True)
class TextTerm:
    """Words that describe the wanted image."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class PixelsTerm:
    """An image the person shows, decoded and checked by `inspection.open_image`."""

    pixels: Pixels
    weight: float = 1.0


@dataclass(frozen=True)
class ImageTerm:
    """An image of the library, by its public id."""

    uuid: uuid.UUID
    weight: float = 1.0


Term = TextTerm | PixelsTerm | ImageTerm


def check_term(term: Term) -> None:
    """Raise QueryInvalid for a term that cannot be looked for."""
    if not 0.01 <= abs(term.weight) <= 100:  # NaN is not
        raise QueryInvalid("A weight must be from 0.01 to 100, or the same below zero.")
    if isinstance(term, TextTerm):
        check_text(term.text)


def check_text(text: str) -> None:
    if not text.strip():
        raise QueryInvalid("The text to look for is empty.")
    if len(text) > MAX_TEXT:
        raise QueryInvalid(f"The text to look for has at most {MAX_TEXT} characters.")
    if any(unicodedata.category(character) == "Cs" for character in text) or "\x00" in text:
        raise QueryInvalid("The text to look for holds a character that is no text.")
