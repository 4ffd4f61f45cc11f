"""SemanticSearcher: one vector table in one space, to search and to fill from Python.

from embeddings import SemanticSearcher

searcher = SemanticSearcher.from_settings()
for hit in searcher.search(text="a red bicycle", k=5):
    print(hit.rank, hit.score, hit.subject)
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from django.conf import settings
from django.db.models import Model, QuerySet
from PIL import Image, ImageOps
from PIL.Image import DecompressionBombError
from PIL.Image import Image as Pixels

from embeddings import samples
from embeddings.encoders import opening, registry, sources
from embeddings.encoders.contract import Encoder
from embeddings.errors import EmbeddingsError, VectorInvalid
from embeddings.models import AbstractEmbedding, Space
from embeddings.nearest import nearest
from embeddings.vectors import Neighbours, Plan, Vector, normalise

ImageSource = str | Path | bytes | Pixels  # a path, the bytes of a file, or what Pillow has opened

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")


class SearcherMisused(EmbeddingsError, ValueError):
    """What was asked of a SemanticSearcher does not say one thing to do."""


@dataclass(frozen=True)
class Hit:
    """A subject that was found."""

    subject: Any  # instance of the vector table's subject
    score: float  # cosine similarity, higher is better
    rank: int  # first is 1


class Hits(Sequence[Hit]):
    """Hits, best first, and how they were found."""

    def __init__(self, hits: Sequence[Hit], plan: Plan) -> None:
        self._hits = tuple(hits)
        self.plan = plan

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, place: int | slice) -> Hit | tuple[Hit, ...]:
        return self._hits[place]

    def __len__(self) -> int:
        return len(self._hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._hits)

    def __repr__(self) -> str:
        lines = [f"{hit.rank:3} {hit.score:6.3f}  {hit.subject}" for hit in self]
        return "\n".join([*lines, f"({self.plan.route})"])


class SemanticSearcher:
    """Searches one vector table in one space, and adds to it."""

    def __init__(self, model: type[AbstractEmbedding], space: Space) -> None:
        self.model = model
        self.space = space

    @classmethod
    def from_settings(cls, model: type[AbstractEmbedding] | str | None = None) -> SemanticSearcher:
        """Return a searcher of a vector table in the space of the project's encoder.

        The table is `model` (a class or "app.Model"), else VECTOR_TABLE, else the only one there
        is. The space is the active one; where none is active, that of ENCODER, made if need be.
        Raise SearcherMisused when the table is not clear, EncoderUnavailable without an encoder.
        """
        table = _vector_table(model or settings.VECTOR_TABLE)
        space = Space.objects.filter(state=Space.State.ACTIVE).first()
        return cls(table, space or space_of_settings())

    @property
    def encoder(self) -> Encoder:
        """The encoder of the space, loaded once a process. Raise EncoderUnavailable."""
        return registry.load(self.space)

    def search(
        self,
        *,
        text: str | None = None,
        image: ImageSource | None = None,
        k: int = 24,
        within: QuerySet[Any] | None = None,
    ) -> Hits:
        """Return the k subjects that a text or an image describes best, best first.

        With both, their vectors are added. `within`: only these subjects. Raise SearcherMisused
        without text and image or with an image that is none, and what nearest() raises.
        """
        if text is None and image is None:
            raise SearcherMisused("Nothing to look for: give text=, image= or both.")
        parts = [self._vector_of(text, None)] if text is not None else []
        parts += [self._vector_of(None, image)] if image is not None else []
        vector = normalise(np.sum(parts, axis=0))
        samples.remember(self.space, vector)
        return self.nearest(vector, k=k, within=within)

    def nearest(self, vector: Vector, *, k: int = 24, within: QuerySet[Any] | None = None) -> Hits:
        """Return the k subjects nearest to a vector (dimensions,), best first."""
        return self._read(nearest(self.model, self.space, vector, k=k, within=within))

    def add(
        self,
        subject: Model | int,
        *,
        text: str | None = None,
        image: ImageSource | None = None,
        vector: Vector | None = None,
    ) -> None:
        """Store the vector of a subject (an instance or its key), in place of an older one.

        Give one of `text`, `image` and `vector`. Raise SearcherMisused for another number of them
        or an instance that is no subject, VectorInvalid for a vector of another width, zero, or not
        finite.
        """
        if sum(given is not None for given in (text, image, vector)) != 1:
            raise SearcherMisused("Give one of text=, image= and vector= to add a subject.")
        given = np.asarray(vector) if vector is not None else self._vector_of(text, image)
        if given.shape != (self.space.dimensions,):
            raise VectorInvalid(
                f"{self.space} has {self.space.dimensions} dimensions; a vector of shape "
                f"{given.shape} was given."
            )
        where: dict[str, Any] = {
            self.model.subject_field().attname: self._key_of(subject),
            "space": self.space,
        }
        self.model._default_manager.update_or_create(
            **where, defaults={"vector": normalise(given).tolist()}
        )

    def _key_of(self, subject: Model | int) -> int:
        if not isinstance(subject, Model):
            return subject
        target = self.model.subject_field().target_field.model
        if not isinstance(subject, target) or subject.pk is None:
            raise SearcherMisused(f"{subject!r} is no saved {target.__name__}.")
        return int(subject.pk)

    def _vector_of(self, text: str | None, image: ImageSource | None) -> Vector:
        if image is not None:
            return cast(Vector, self.encoder.encode_images([open_image(image)])[0])
        if not isinstance(text, str):
            raise SearcherMisused(f"The text must be a str; it is a {type(text).__name__}.")
        words = " ".join(text.split())
        if not words:
            raise SearcherMisused("The text is empty.")
        return cast(Vector, self.encoder.encode_texts([words])[0])

    def _read(self, found: Neighbours) -> Hits:
        subjects = self.model.subject_field().target_field.model._base_manager
        subject_by_id = subjects.in_bulk(found.ids.tolist())
        scores = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
        there = [key for key in scores if key in subject_by_id]  # else deleted a moment ago
        return Hits(
            [Hit(subject_by_id[key], scores[key], rank) for rank, key in enumerate(there, 1)],
            found.plan,
        )


def space_of_settings() -> Space:
    """Return the space of the encoder that the settings name, made if it is new.

    Raise EncoderUnavailable when the encoder cannot be had.
    """
    source = sources.choose()
    known = Space.objects.filter(name=source.name, revision=source.revision).first()
    if known is not None:
        return known
    dimensions = opening.open_source(source).dimensions
    return Space.objects.get_or_create(
        name=source.name, revision=source.revision, defaults={"dimensions": dimensions}
    )[0]


def open_image(image: ImageSource) -> Pixels:
    """Return an image as RGB pixels. Raise SearcherMisused when it is none that can be read."""
    if isinstance(image, Pixels):
        return ImageOps.exif_transpose(image).convert("RGB")
    source = io.BytesIO(image) if isinstance(image, bytes) else Path(image)
    try:
        with Image.open(source, formats=FORMATS) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, DecompressionBombError) as error:
        raise SearcherMisused(f"The image cannot be read: {error}") from error


def _vector_table(named: type[AbstractEmbedding] | str) -> type[AbstractEmbedding]:
    from embeddings.feed import vector_tables

    tables = vector_tables()
    labels = ", ".join(sorted(table._meta.label for table in tables)) or "none"
    if not isinstance(named, str):
        return named
    if not named and len(tables) == 1:
        return tables[0]
    for table in tables:
        if named.lower() == table._meta.label_lower:
            return table
    if not named:
        raise SearcherMisused(
            f"There is not one vector table but: {labels}. Name one, here or as VECTOR_TABLE."
        )
    raise SearcherMisused(f"{named!r} is no vector table of this project; there are: {labels}.")
