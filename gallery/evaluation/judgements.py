"""What should be found: queries in words, and the images that are relevant to each.

They come from the library's own captions (here), or from a file that a person wrote
(`judgement_files`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from embeddings.measures import Pairs
from embeddings.models import Space
from embeddings.streams import read_ids
from embeddings.vectors import Ids
from gallery.models import Caption, Image, ImageEmbedding, ImageQuerySet
from gallery.query import MAX_TEXT

if TYPE_CHECKING:
    from django.contrib.auth.models import User

AT_ONCE = 1000  # texts, names or ids that one statement of SQL asks for

Grades = dict[int, float]  # by primary key of the relevant images; each above zero
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Candidates:
    """The images that are ranked: what the viewer may see, and of these what has a vector."""

    space: Space
    visible: ImageQuerySet
    embedded: ImageQuerySet

    @classmethod
    def of(cls, viewer: User, space: Space) -> Candidates:
        visible = Image.objects.visible_to(viewer).order_by()
        vectors = ImageEmbedding.objects.filter(space=space)
        return cls(space, visible, visible.filter(pk__in=vectors.values("image")))


@dataclass(frozen=True)
class BadLine:
    """A line of a file that says nothing usable, and why."""

    line: int  # first is 1
    reason: str


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """Queries, each with at least one relevant image that can be found."""

    source: str
    grades_by_query: dict[str, Grades]
    in_all: int  # queries there were before some were drawn
    bad_lines: tuple[BadLine, ...] = ()
    unknown: tuple[str, ...] = ()  # names and ids of no image that the viewer may see
    ambiguous: tuple[str, ...] = ()  # file names that several images have
    not_embedded: int = 0  # relevant images without a vector
    too_long: int = 0  # captions that nobody could type as a query

    @property
    def queries(self) -> list[str]:
        return list(self.grades_by_query)

    @property
    def pairs(self) -> Pairs:
        rows = [
            (row, image_id, grade)
            for row, grades in enumerate(self.grades_by_query.values())
            for image_id, grade in sorted(grades.items())
        ]
        queries, ids, grades = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return Pairs(queries.astype(np.int64), ids.astype(np.int64), grades)


def of_captions(candidates: Candidates, *, limit: int, seed: int) -> Judgements:
    """Return the captions of the candidates as queries, at most `limit` drawn at random; 0: all.

    An image is relevant to each of its captions. A caption that several images have is one query,
    and all of them are relevant to it.
    """
    # An image's own caption is a row as well.
    captions = Caption.objects.filter(image__in=candidates.embedded.values("pk"))
    ids = read_ids(captions)
    chosen = ids[drawn(len(ids), limit=limit, seed=seed)]
    texts: set[str] = set()
    for some_ids in in_parts(chosen.tolist()):
        some = Caption.objects.filter(pk__in=some_ids).order_by()
        texts.update(some.values_list("text", flat=True))
    askable = [text for text in sorted(texts) if len(as_query(text)) <= MAX_TEXT]
    grades_by_query: dict[str, Grades] = defaultdict(dict)
    for some_texts in in_parts(askable):
        same = captions.filter(text__in=some_texts).order_by("pk")
        for text, image_id in same.values_list("text", "image_id"):
            if query := as_query(text):
                grades_by_query[query][image_id] = 1.0
    return Judgements(
        source="captions",
        grades_by_query=dict(grades_by_query),
        in_all=len(ids),
        too_long=len(texts) - len(askable),
    )


def as_query(text: str) -> str:
    """Return a text as searches normalise it."""
    return " ".join(text.split())


def drawn(n: int, *, limit: int, seed: int) -> Ids:
    """Return `limit` of the numbers below n, drawn at random, ascending; 0: all."""
    if not limit or n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def in_parts(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    for start in range(0, len(things), AT_ONCE):
        yield things[start : start + AT_ONCE]
