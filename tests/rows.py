"""Rows for tests: images without files, and vectors that no encoder made."""

from __future__ import annotations

import uuid

import numpy as np
from django.contrib.auth import get_user_model

from embeddings.models import Space
from embeddings.vectors import Ids, Vectors, normalise
from gallery.models import Image, ImageEmbedding, State, Visibility

DIMENSIONS = 16


def make_user(name: str = "ann", **fields):
    user, _ = get_user_model().objects.get_or_create(username=name, defaults=fields)
    return user


def make_space(dimensions: int = DIMENSIONS, **fields) -> Space:
    given = {"name": "numbers", "revision": uuid.uuid4().hex, "state": Space.State.ACTIVE} | fields
    return Space.objects.create(dimensions=dimensions, **given)


def make_images(n: int, **fields) -> Ids:
    """Insert n images that are ready, and return their primary keys, ascending."""
    given = {
        "mime_type": "image/png", "width": 4, "height": 3, "bytes": 12,
        "visibility": Visibility.PUBLIC, "state": State.READY,
    } | fields  # fmt: skip
    given.setdefault("owner", make_user())
    images = Image.objects.bulk_create(
        Image(sha256=uuid.uuid4().hex * 2, **given) for _ in range(n)
    )
    return np.array(sorted(image.pk for image in images), dtype=np.int64)


def make_vectors(n: int, *, dimensions: int = DIMENSIONS, seed: int = 0) -> Vectors:
    """Return n random vectors as the database keeps them: (n, dimensions), float16 precision."""
    vectors = normalise(np.random.default_rng(seed).normal(size=(n, dimensions)))
    return vectors.astype(np.float16).astype(np.float32)


def store(ids: Ids, vectors: Vectors, space: Space) -> None:
    """Write vectors of images through the ORM, replacing older ones."""
    ImageEmbedding.objects.bulk_create(
        [
            ImageEmbedding(image_id=int(id_), space=space, vector=vector.tolist())
            for id_, vector in zip(ids, vectors, strict=True)
        ],
        update_conflicts=True,
        unique_fields=["image", "space"],
        update_fields=["vector"],
    )


def truth(space: Space) -> dict[int, tuple[float, ...]]:
    """Return what Postgres holds, by image: the judge of every index."""
    rows = ImageEmbedding.objects.filter(space=space).values_list("image_id", "vector")
    # Postgres prints a float16 as the shortest number that means it; the array has all its digits.
    return {image_id: tuple(np.float16(vector).astype(float).tolist()) for image_id, vector in rows}
