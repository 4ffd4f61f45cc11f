"""Compares images of one owner, and keeps the pairs that are duplicates for a person to decide.

Near is what two independent witnesses say: a perceptual hash, which knows where things are but not
what they are, and the vectors, the other way round. A mirrored image has the same vector and
another hash; two motorbikes before a white wall have the same hash and another vector.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from embeddings.models import Space
from embeddings.streams import read_vectors
from gallery import inspection, originals, spaces, thumbnails
from gallery.decoding import decoders
from gallery.duplicates import candidates, grouping
from gallery.duplicates.candidates import HASH_BITS, Candidates, Library
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.models import DuplicateKind, DuplicatePair, Image, ImageEmbedding

# Measured on re-encoded, resized, cropped, marked and brightened copies against different images:
# docs/duplicates.md. (bits that the hashes may differ in, least cosine of the vectors)
RULES = ((4, 0.85), (HASH_BITS, 0.93), (16, 0.97))

_PAIRS_AT_ONCE = 20_000

_LOCK = "SELECT id FROM gallery_image WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE"
_KEEP = """
INSERT INTO gallery_duplicatepair (first_id, second_id, kind, bits, score)
SELECT one.id, other.id, found.kind, found.bits, found.score
FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::int[], %s::float8[])
    AS found (first, second, kind, bits, score)
JOIN gallery_image one ON one.id = found.first
JOIN gallery_image other ON other.id = found.second AND other.owner_id = one.owner_id
WHERE one.version_of_id IS NULL AND other.version_of_id IS NULL AND NOT EXISTS (
    SELECT FROM gallery_duplicateverdict verdict
    WHERE verdict.owner_id = one.owner_id
        -- Linked, and no version: one of them was deleted and came in again.
        AND verdict.verdict <> 'linked'
        AND verdict.first_sha256 = least(one.sha256, other.sha256)
        AND verdict.second_sha256 = greatest(one.sha256, other.sha256))
ON CONFLICT (first_id, second_id)
    DO UPDATE SET kind = excluded.kind, bits = excluded.bits, score = excluded.score
RETURNING first_id
"""

log = logging.getLogger(__name__)

Advance = Callable[[int], object]


class Proofs:
    """What is known of the pixels of large images: each is decoded once, when it is asked for.

    From the moment that `goes_on` says no, nothing more is decoded, and `is_cut_short` is true; nor
    once the storage is away, which `is_storage_away` says: each file would take its patience.
    """

    def __init__(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        self._goes_on = goes_on
        self._sha256_by_id: dict[int, str] = {}
        self.is_cut_short = False
        self.is_storage_away = False

    def are_same(self, one: int, other: int) -> bool:
        """Whether two images are equal in every pixel; what cannot be read is not proven."""
        first = self._sha256_of(one)
        return bool(first) and first == self._sha256_of(other)

    def _sha256_of(self, image_id: int) -> str:
        if image_id not in self._sha256_by_id:
            self.is_cut_short = self.is_cut_short or not self._goes_on()
            if self.is_cut_short or self.is_storage_away:
                return ""
            self._sha256_by_id[image_id] = self._read(image_id)
        return self._sha256_by_id[image_id]

    def _read(self, image_id: int) -> str:
        try:
            return _all_pixels_sha256(image_id)
        except (StorageUnavailable, OSError) as error:
            log.warning("The pixels of image %d cannot be compared: %s", image_id, error)
            self.is_storage_away = originals.is_passing(error)
            return ""


def compare(owner_id: int, image_ids: Sequence[int], *, proofs: Proofs | None = None) -> int:
    """Compare images with all others of their owner; return how many pairs wait for a decision.

    Large images are decoded to prove that they are the same, as far as `proofs` goes.
    """
    library = candidates.hashes_of(owner_id)
    space = spaces.active()
    parts = [candidates.same_pixels(image_ids), candidates.near_hashes(library, image_ids)]
    if space is not None:
        parts.append(candidates.near_vectors(owner_id, space, image_ids))
    found = candidates.joined(parts)
    return _keep(owner_id, library, space, found, proofs or Proofs())


def compare_all(owner_id: int, *, advance: Advance | None = None) -> int:
    """Compare all images of an owner with each other; return how many pairs wait for a decision.

    Pairs found before are judged anew, so that those go that another encoder no longer takes for
    duplicates. With `advance`, the neighbours of every vector are looked at too, and it is told
    how many images are done: minutes for 100,000, where the rest takes seconds.
    """
    library = candidates.hashes_of(owner_id)
    space = spaces.active()
    before = DuplicatePair.objects.filter(first__owner_id=owner_id)
    pairs = np.array(list(before.values_list("first_id", "second_id")), np.int64).reshape(-1, 2)
    parts = [
        Candidates(pairs[:, 0], pairs[:, 1]),
        candidates.all_same_pixels(owner_id),
        candidates.all_near_hashes(library),
    ]
    if space is not None and advance is not None:
        ids = Image.objects.filter(owner_id=owner_id).order_by("pk").values_list("pk", flat=True)
        parts.append(candidates.near_vectors(owner_id, space, list(ids), advance=advance))
    found = candidates.joined(parts)
    return _keep(owner_id, library, space, found, Proofs())


def _keep(
    owner_id: int, library: Library, space: Space | None, found: Candidates, proofs: Proofs
) -> int:
    """Judge the pairs, keep those that are duplicates, forget those that are not, and group."""
    kept = 0
    touched: set[int] = set()
    for start in range(0, len(found.first), _PAIRS_AT_ONCE):
        some = Candidates(*(ids[start : start + _PAIRS_AT_ONCE] for ids in found))
        bits = library.bits_between(some)
        scores = _scores(space, some)
        is_same = _are_same(some, proofs)
        is_near = np.zeros(len(bits), dtype=bool)
        for most_bits, least_score in RULES:
            is_near |= (bits <= most_bits) & (scores >= least_score)
        is_duplicate = is_same | is_near
        # Without a vector nothing is known: what was found with one stays.
        is_none = ~is_duplicate & ~np.isnan(scores)
        touched |= _forget(Candidates(*(ids[is_none] for ids in some)))
        rows = Candidates(*(ids[is_duplicate] for ids in some))
        kinds = np.where(is_same, DuplicateKind.PIXELS, DuplicateKind.NEAR)[is_duplicate]
        new = _insert(rows, kinds.tolist(), bits[is_duplicate], scores[is_duplicate])
        kept += len(new)
        touched.update(new)
    if touched:
        grouping.regroup(owner_id, sorted(touched))
    return kept


def _scores(space: Space | None, pairs: Candidates) -> NDArray[np.float64]:
    """Return the cosine of each pair's vectors; NaN where one has none (yet)."""
    scores = np.full(len(pairs.first), np.nan)
    if space is None:
        return scores
    ids, vectors = read_vectors(ImageEmbedding, space, only=np.unique(np.concatenate(pairs)))
    padded = np.append(ids, -1)
    first, second = (np.searchsorted(ids, side) for side in pairs)
    both = np.flatnonzero((padded[first] == pairs.first) & (padded[second] == pairs.second))
    scores[both] = np.einsum("ij,ij->i", vectors[first[both]], vectors[second[both]])
    return scores


def _are_same(pairs: Candidates, proofs: Proofs) -> NDArray[np.bool_]:
    """Return which pairs show the same pixels."""
    ids = np.unique(np.concatenate(pairs)).tolist()
    by_id = {
        row[0]: row[1:]
        for part in _parts(ids)
        for row in Image.objects.filter(pk__in=part).values_list(
            "pk", "pixel_sha256", "width", "height"
        )
    }
    same = []
    for one, other in zip(*(side.tolist() for side in pairs), strict=True):
        known = by_id.get(one)
        is_same = known is not None and bool(known[0]) and known == by_id.get(other)
        if is_same and known is not None and max(known[1:]) > thumbnails.LARGE:
            is_same = proofs.are_same(one, other)
        same.append(is_same)
    return np.array(same, dtype=bool)


def _all_pixels_sha256(image_id: int) -> str:
    """Decode an image wholly; return the sha256 of its size and pixels, "" where it cannot be.

    Raise OSError or StorageUnavailable when its file cannot be read.
    """
    image = Image.objects.filter(pk=image_id).only("file").first()
    if image is None:
        return ""
    try:
        with originals.opened(image) as file:
            pixels = decoders.open_stored(file, edge=inspection.MAX_EDGE)
    except ImageRefused:
        return ""
    return hashlib.sha256(b"%d %d " % pixels.size + pixels.tobytes()).hexdigest()


@transaction.atomic
def _insert(
    pairs: Candidates,
    kinds: list[str],
    bits: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> list[int]:
    """Write the pairs about which nothing is decided; return an image of each."""
    numbers = [None if np.isnan(score) else float(score) for score in scores]
    with connection.cursor() as cursor:
        # In order, as who deletes images locks them; one that has gone is not joined any more.
        cursor.execute(_LOCK, [np.unique(np.concatenate(pairs)).tolist()])
        cursor.execute(
            _KEEP, [pairs.first.tolist(), pairs.second.tolist(), kinds, bits.tolist(), numbers]
        )
        return [image_id for (image_id,) in cursor.fetchall()]


def _forget(pairs: Candidates) -> set[int]:
    """Remove pairs that are none any more; return the images of those that were there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM gallery_duplicatepair pair "
            "USING unnest(%s::bigint[], %s::bigint[]) AS gone (first, second) "
            "WHERE pair.first_id = gone.first AND pair.second_id = gone.second "
            "RETURNING pair.first_id, pair.second_id",
            [pairs.first.tolist(), pairs.second.tolist()],
        )
        return {image_id for row in cursor.fetchall() for image_id in row}


def _parts(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), 5000):
        yield ids[start : start + 5000]
