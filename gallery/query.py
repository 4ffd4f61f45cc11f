"""What a person asks, and what comes back: typed, immutable values."""

from __future__ import annotations

import unicodedata
import uuid
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from gallery.errors import QueryInvalid
from gallery.models import Image, ImageQuerySet, Visibility

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

    from embeddings.vectors import Plan

MAX_K = 1000
MAX_TEXT = 1000
MAX_TERMS = 16
MAX_TAGS = 10  # each is a join


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


@dataclass(frozen=True, kw_only=True)
class ImageFilter:
    """Conditions on the record; an empty one keeps everything."""

    tags: tuple[str, ...] = ()  # all of them
    album: str = ""
    taken_after: date | None = None  # that day and later
    taken_before: date | None = None  # that day and earlier
    visibility: str = ""

    def __post_init__(self) -> None:
        if len(self.tags) > MAX_TAGS:
            raise QueryInvalid(f"A search asks for at most {MAX_TAGS} tags.")
        if self.visibility and self.visibility not in Visibility.values:
            raise QueryInvalid("visibility must be public or private.")
        if self.taken_after and self.taken_before and self.taken_after > self.taken_before:
            raise QueryInvalid("taken_after must not be later than taken_before.")

    def apply(self, images: ImageQuerySet) -> ImageQuerySet:
        for tag in self.tags:
            # One filter() a tag: two tags in one filter() would ask for a single tag row
            # that has both names.
            images = images.filter(tags__name=tag.strip().lower())
        if self.album:
            images = images.filter(album__name=self.album)
        if self.taken_after:
            images = images.filter(taken_at__date__gte=self.taken_after)
        if self.taken_before:
            images = images.filter(taken_at__date__lte=self.taken_before)
        if self.visibility:
            images = images.filter(visibility=self.visibility)
        return images


@dataclass(frozen=True, kw_only=True)
class Query:
    """One search: what it should look like, what must hold, how many.

    Raise QueryInvalid when it cannot be answered as it stands.
    """

    terms: tuple[Term, ...]
    filter: ImageFilter = field(default_factory=ImageFilter)
    k: int = 24

    def __post_init__(self) -> None:
        if not self.terms:
            raise QueryInvalid("Say what to look for: a text, an image, or similar_to.")
        if len(self.terms) > MAX_TERMS:
            raise QueryInvalid(f"A query has at most {MAX_TERMS} terms.")
        if not 1 <= self.k <= MAX_K:
            raise QueryInvalid(f"k must be from 1 to {MAX_K}.")
        for term in self.terms:
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


@dataclass(frozen=True)
class Hit:
    """An image with its score (cosine similarity) and rank (first is 1), ready to show."""

    image: Image
    score: float
    rank: int


@dataclass(frozen=True, kw_only=True)
class Page:
    """The answer to a query."""

    hits: tuple[Hit, ...]
    plan: Plan
    took_ms: float
    encoder: str
    unknown_words: tuple[str, ...] = ()
