"""Which images of an owner may be duplicates: by pixels, by perceptual hash, by vector.

Each way proposes pairs of ids; `finding` judges them. None of them compares all with all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from django.db import connection

from embeddings.models import Space
from embeddings.nearest import nearest
from embeddings.streams import read_vectors
from embeddings.vectors import Ids
from gallery.duplicates import hamming
from gallery.duplicates.hamming import CROWD, Hashes
from gallery.models import Image, ImageEmbedding

HASH_BITS = 10  # that two hashes may differ in, to be looked at more closely
NEIGHBOURS = 8  # of a vector, looked at more closely
_VECTORS_AT_ONCE = 500

_HASHES = """
SELECT string_agg(int8send(id), ''), string_agg(int8send(perceptual_hash), '') FROM (
    SELECT id, perceptual_hash FROM gallery_image
    WHERE owner_id = %s AND perceptual_hash IS NOT NULL ORDER BY id) AS found
"""
_SAME_PIXELS = f"""
SELECT mine.id, other.id FROM gallery_image mine CROSS JOIN LATERAL (
    SELECT id FROM gallery_image
    WHERE owner_id = mine.owner_id AND pixel_sha256 = mine.pixel_sha256 AND id <> mine.id
    ORDER BY id LIMIT {CROWD}) AS other
WHERE mine.id = ANY(%s) AND mine.pixel_sha256 <> ''
"""
_ALL_SAME_PIXELS = """
SELECT first, id FROM (
    SELECT id, min(id) OVER (PARTITION BY pixel_sha256) AS first FROM gallery_image
    WHERE owner_id = %s AND pixel_sha256 <> '') AS found
WHERE first <> id
"""


class Candidates(NamedTuple):
    """Pairs of image ids, first < second, each pair once."""

    first: Ids
    second: Ids


class Library(NamedTuple):
    """The perceptual hashes of an owner's images, by ascending id. What is blank has none."""

    ids: Ids
    hashes: Hashes

    def bits_between(self, candidates: Candidates) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return in how many bits each pair differs; 64 where one has no hash."""
        places = [np.searchsorted(self.ids, ids) for ids in candidates]
        padded = np.append(self.ids, -1)
        is_known = (padded[places[0]] == candidates.first) & (
            padded[places[1]] == candidates.second
        )
        hashes = np.append(self.hashes, np.uint64(0))
        bits = np.bitwise_count(hashes[places[0]] ^ hashes[places[1]]).astype(np.int64)
        return np.where(is_known, bits, 64)


def hashes_of(owner_id: int) -> Library:
    with connection.cursor() as cursor:
        cursor.execute(_HASHES, [owner_id])
        ids, hashes = (
            np.frombuffer(packed or b"", dtype=">i8").astype(np.int64)
            for packed in cursor.fetchone()
        )
    return Library(ids, hamming.as_hashes(hashes))


def joined(parts: Sequence[tuple[Ids, Ids]]) -> Candidates:
    """Return the pairs of all parts in order, each once."""
    first = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
    second = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
    both = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second)]), axis=1)
    return Candidates(*both[:, both[0] != both[1]])


def same_pixels(image_ids: Sequence[int]) -> Candidates:
    """Return each of these images with those of the same pixels."""
    return _selected(_SAME_PIXELS, [[*image_ids]])


def all_same_pixels(owner_id: int) -> Candidates:
    """Return all images of the same pixels: of each set, the first with the others."""
    return _selected(_ALL_SAME_PIXELS, [owner_id])


def near_hashes(library: Library, image_ids: Sequence[int]) -> Candidates:
    """Return each of these images with those of a near hash, the nearest where they are many."""
    parts = []
    for place in np.flatnonzero(np.isin(library.ids, list(image_ids))):
        bits = np.bitwise_count(library.hashes ^ library.hashes[place])
        near = np.flatnonzero(bits <= HASH_BITS)
        near = near[np.argsort(bits[near], kind="stable")][: CROWD + 1]
        parts.append((np.full(len(near), library.ids[place]), library.ids[near]))
    return joined(parts)


def all_near_hashes(library: Library) -> Candidates:
    """Return all images whose hashes are near each other."""
    found = hamming.pairs_within(library.hashes, HASH_BITS)
    return Candidates(library.ids[found.first], library.ids[found.second])


def near_vectors(
    owner_id: int,
    space: Space,
    image_ids: Sequence[int],
    *,
    advance: Callable[[int], object] = lambda _: None,
) -> Candidates:
    """Return each of these images with the nearest of its owner's by vector.

    `advance` is told how many images are done.
    """
    own = Image.objects.filter(owner_id=owner_id)
    parts = []
    for start in range(0, len(image_ids), _VECTORS_AT_ONCE):
        asked = np.array(image_ids[start : start + _VECTORS_AT_ONCE], dtype=np.int64)
        ids, vectors = read_vectors(ImageEmbedding, space, only=asked)
        for image_id, vector in zip(ids, vectors, strict=True):
            found = nearest(ImageEmbedding, space, vector, k=NEIGHBOURS, within=own)
            parts.append((np.full(len(found.ids), image_id), found.ids))
        advance(len(asked))
    return joined(parts)


def _selected(statement: str, parameters: list[int | list[int]]) -> Candidates:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows = np.array(cursor.fetchall(), dtype=np.int64).reshape(-1, 2)
    return joined([(rows[:, 0], rows[:, 1])])
