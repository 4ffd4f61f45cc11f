"""Terms become vectors: words by the encoder, images from the library, examples by Rocchio."""

from __future__ import annotations

import hashlib
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, assert_never

import numpy as np

from embeddings.encoders import registry
from embeddings.models import Space
from embeddings.streams import read_vectors
from embeddings.vectors import Ids, Vector, Vectors, normalise
from gallery.errors import QueryInvalid
from gallery.models import Image, ImageEmbedding, State
from gallery.query import Aggregate, ImageTerm, PixelsTerm, Query, Term, TextTerm
from gallery.search import kept
from gallery.search.prepared import Direction, Part, name_of

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

# Rocchio's feedback (J. J. Rocchio in G. Salton, The SMART Retrieval System, 1971), with the
# weights of Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, 9.1.1.
QUERY_WEIGHT, GOOD_WEIGHT, BAD_WEIGHT = 1.0, 0.75, 0.15

KEEP_SECONDS = 24 * 3600
REMEMBERED = 1024  # texts of this process: Redis gives the others in a third of a millisecond
LEAST_LENGTH = 1e-3  # of a sum beside its weights: below it only rounding is left


class EncodedText(NamedTuple):
    vector: Vector
    unknown_words: tuple[str, ...]  # that the encoder never learned


class Encoded(NamedTuple):
    """An EncodedText as Redis keeps it."""

    vector: bytes  # float32
    unknown_words: tuple[str, ...]


@dataclass(frozen=True)
class _Asked:
    """A text and who encodes it.

    The encoder by its name: the number of a space may be another's once a database was restored.
    """

    encoder: str
    revision: str
    text: str
    space: Space = field(compare=False)

    @classmethod
    def of(cls, space: Space, text: str) -> _Asked:
        """Return the same for texts that differ in blanks alone, or in how letters are made up."""
        written = unicodedata.normalize("NFC", " ".join(text.split()))
        return cls(space.name, space.revision, written, space)

    @property
    def key(self) -> str:
        # The name too: two encoders may call their revision the same.
        name = f"{self.encoder}\0{self.revision}\0{self.text}"
        return f"query-vector:{hashlib.sha256(name.encode()).hexdigest()}"


class Named(NamedTuple):
    """The images of the library that a query names."""

    ids: Ids
    vector_by_uuid: dict[uuid.UUID, Vector]


def directions_of(query: Query, space: Space, named: Named) -> tuple[Direction, ...]:
    """Return the query vectors: one for the mean, else one for each term that is wanted.

    What is not wanted is taken from each of them, and the examples refine each.
    Raise QueryInvalid when nothing is left of one.
    """
    parts = [
        Part(name_of(term), term.weight, term.weight, vector_of(term, space, named))
        for term in query.terms
    ]
    examples = _examples(query, named)
    wanted = [part for part in parts if part.weight > 0]
    if query.aggregate == Aggregate.MEAN or len(wanted) < 2:
        return (_direction(parts, examples, 1.0),)
    unwanted = [part for part in parts if part.weight < 0]
    heaviest = max(part.weight for part in wanted)
    return tuple(
        # The heaviest counts in full, so that no score is more than a cosine.
        _direction([part, *unwanted], examples, part.weight / heaviest)
        for part in wanted
    )


def vector_of(term: Term, space: Space, named: Named) -> Vector:
    """Return a term's vector, (d,)."""
    if isinstance(term, ImageTerm):
        return named.vector_by_uuid[term.uuid]
    if isinstance(term, TextTerm):
        return text_vector(space, term.text)
    if isinstance(term, PixelsTerm):
        vector: Vector = registry.load(space).encode_images([term.pixels])[0]
        return vector
    assert_never(term)


def named_images(query: Query, space: Space, viewer: AbstractBaseUser | AnonymousUser) -> Named:
    """Read the images that the query names, with their vectors.

    Raise QueryInvalid when one is missing or hidden (the viewer cannot tell which), or has no
    vector.
    """
    uuids = [term.uuid for term in query.terms if isinstance(term, ImageTerm)]
    wanted = {*uuids, *query.good, *query.bad}
    if not wanted:
        return Named(np.empty(0, np.int64), {})
    visible = Image.objects.visible_to(viewer)
    images = list(visible.filter(uuid__in=wanted).only("pk", "uuid", "state"))
    if len(images) < len(wanted):
        raise QueryInvalid("There is no such image to compare with, or you may not see it.")
    ids = np.array([image.pk for image in images], dtype=np.int64)
    found, vectors = read_vectors(ImageEmbedding, space, only=ids)
    vector_by_id = dict(zip(found.tolist(), vectors, strict=True))
    _check_embedded((image for image in images if image.pk not in vector_by_id), space)
    return Named(ids, {image.uuid: vector_by_id[image.pk] for image in images})


def text_vector(space: Space, text: str) -> Vector:
    """Return the vector of a text, (d,); people ask the same things again and again."""
    return _encoded(_Asked.of(space, text)).vector


def unknown_words(terms: Iterable[Term], space: Space) -> tuple[str, ...]:
    """Return the words of the text terms that the encoder never learned, each once."""
    words = [
        word
        for term in terms
        if isinstance(term, TextTerm)
        for word in _encoded(_Asked.of(space, term.text)).unknown_words
    ]
    return tuple(dict.fromkeys(words))


def _check_embedded(without_vector: Iterable[Image], space: Space) -> None:
    for image in without_vector:
        if image.state == State.READY:  # in the active space, so this is the one beside it
            raise QueryInvalid(
                f"This image has no vector by the encoder {space.title} yet: ask the other one "
                "alone, or try again later."
            )
        raise QueryInvalid(
            "This image could not be embedded, so nothing can be compared with it."
            if image.state == State.FAILED
            else "This image is still being embedded; try again in a moment."
        )


def _examples(query: Query, named: Named) -> list[Part]:
    """Return the centroids of the good and of the bad examples, as terms."""
    return [
        part
        for name, uuids, weight in (
            ("good examples", query.good, GOOD_WEIGHT),
            ("bad examples", query.bad, -BAD_WEIGHT),
        )
        if uuids
        for part in _centroid(name, np.stack([named.vector_by_uuid[u] for u in uuids]), weight)
    ]


def _centroid(name: str, vectors: Vectors, weight: float) -> list[Part]:
    centroid = vectors.mean(axis=0)
    length = float(np.linalg.norm(centroid))
    if length < 1e-6:  # examples that lie opposite one another say nothing
        return []
    return [Part(name, weight, weight * length, np.asarray(centroid / length, np.float32))]


def _direction(terms: Sequence[Part], examples: Sequence[Part], weight: float) -> Direction:
    asked = _scaled(terms, QUERY_WEIGHT) if terms else []
    parts = _scaled([*asked, *examples], 1.0)
    return Direction(normalise(_sum(parts)), weight, tuple(parts))


def _scaled(parts: Sequence[Part], length: float) -> list[Part]:
    """Return the parts with shares such that their sum has a length. Raise QueryInvalid."""
    now = float(np.linalg.norm(_sum(parts))) if parts else 0.0
    if now <= LEAST_LENGTH * sum(abs(part.share) for part in parts):
        raise QueryInvalid("The terms cancel each other out: nothing is left to look for.")
    return [replace(part, share=part.share * length / now) for part in parts]


def _sum(parts: Sequence[Part]) -> Vector:
    shares = np.array([part.share for part in parts], dtype=np.float32)
    return np.asarray(shares @ np.stack([part.vector for part in parts]), dtype=np.float32)


@lru_cache(maxsize=REMEMBERED)
def _encoded(asked: _Asked) -> EncodedText:
    """Return what the encoder makes of a text, remembered here and, in Redis, by all processes."""
    known = _known(asked)
    if known is not None:
        return known
    encoder = registry.load(asked.space)
    vector = encoder.encode_texts([asked.text])[0]
    encoded = EncodedText(vector, encoder.unknown_words(asked.text))
    try:
        packed = Encoded(encoded.vector.astype(np.float32).tobytes(), encoded.unknown_words)
        kept.write(asked.key, packed, seconds=KEEP_SECONDS)
    except kept.NotKept:
        pass  # the next process encodes it anew
    return encoded


def _known(asked: _Asked) -> EncodedText | None:
    try:
        value = kept.read(asked.key)
    except kept.NotKept:
        return None
    if not isinstance(value, Encoded) or len(value.vector) != 4 * asked.space.dimensions:
        return None
    return EncodedText(np.frombuffer(value.vector, dtype=np.float32), value.unknown_words)
