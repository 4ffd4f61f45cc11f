"""Queries of one's own to compare two encoders by: saved, asked lately, captions, typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from embeddings.streams import read_ids
from gallery.errors import QueryInvalid
from gallery.models import Caption, Image
from gallery.query import MAX_TEXT, Mode, Query, TextTerm
from gallery.saved_searches import query_of
from gallery.search import recent

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LONGEST_CAPTION = 200  # characters: what is longer is no query that anybody would type


class Origin(StrEnum):
    SAVED = "saved"  # searches of whoever asks
    RECENT = "recent"  # texts that anybody asked lately
    CAPTIONS = "captions"  # of images that whoever asks may see


@dataclass(frozen=True)
class Question:
    """A query with its name."""

    name: str
    query: Query


def of(
    viewer: User, *, texts: Sequence[str] = (), origins: Sequence[Origin] = (), at_most: int
) -> list[Question]:
    """Return the typed texts first, then those of the origins, each once, `at_most` in all.

    Raise QueryInvalid for a text that cannot be asked.
    """
    found: dict[str, Question] = {}
    for question in (*map(_of_text, texts), *_of_origins(viewer, origins, at_most)):
        found.setdefault(question.name, question)
    return list(islice(found.values(), at_most))


def _of_origins(viewer: User, origins: Sequence[Origin], at_most: int) -> Iterator[Question]:
    given = {Origin.SAVED: _saved, Origin.RECENT: _recent, Origin.CAPTIONS: _captions}
    for origin in origins:
        yield from given[origin](viewer, at_most)


def _saved(viewer: User, at_most: int) -> Iterator[Question]:
    for search in viewer.saved_searches.order_by("-created_at")[:at_most]:
        try:
            query = query_of(search)
        except QueryInvalid:
            continue  # it can no longer be read, and its own page says so
        if query.mode != Mode.KEYWORD:  # words alone are found as before by any encoder
            yield Question(search.name, query)


def _recent(viewer: User, at_most: int) -> Iterator[Question]:
    yield from map(_of_text, recent.texts()[:at_most])


def _captions(viewer: User, at_most: int) -> Iterator[Question]:
    """Yield captions from all over the gallery: the newest alone may be of one import."""
    captions = Caption.objects.filter(image__in=Image.objects.visible_to(viewer))
    ids = read_ids(captions)
    chosen = ids[:: max(1, len(ids) // at_most)] if at_most else ids[:0]
    for text in (
        captions.filter(pk__in=chosen.tolist()).order_by("pk").values_list("text", flat=True)
    ):
        if len(text) <= LONGEST_CAPTION:
            yield _of_text(text)


def _of_text(text: str) -> Question:
    return Question(text[:MAX_TEXT], Query(terms=(TextTerm(text),)))
