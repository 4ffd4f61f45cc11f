"""Rankings as Redis keeps them: a long one would fill megabytes for an hour."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gallery.search.rankings import Ranking

LEVEL = 1  # of zlib: more takes long and gains little


class PackedArray(NamedTuple):
    """The bytes of an array by their place in each number, so that high ones are all alike."""

    shape: tuple[int, ...]
    kind: str  # dtype
    planes: bytes


class PackedRanking(NamedTuple):
    ids: PackedArray
    scores: PackedArray
    bands: PackedArray
    leg_ranks: PackedArray
    leg_scores: PackedArray | None  # None: of one leg alone, whose scores are the ranking's
    by_band: tuple[int, int, int]
    is_complete: bool


def pack(ranking: Ranking) -> PackedRanking:
    """Return a ranking in little space; scores of its legs, to be read, to three digits."""
    is_fused = ranking.leg_ranks.shape[1] > 1
    return PackedRanking(
        ids=_packed(ranking.ids, np.int64),
        scores=_packed(ranking.scores, np.float32),
        bands=_packed(ranking.bands, np.uint8),
        leg_ranks=_packed(ranking.leg_ranks.T, np.int32),
        leg_scores=_packed(ranking.leg_scores.T, np.float16) if is_fused else None,
        by_band=ranking.by_band,
        is_complete=ranking.is_complete,
    )


def unpack(packed: PackedRanking) -> Ranking:
    """Return the ranking that was packed."""
    scores = _unpacked(packed.scores)
    leg_scores = scores[:, None]
    if packed.leg_scores is not None:
        leg_scores = _unpacked(packed.leg_scores).T.astype(np.float32)
    return Ranking(
        ids=_unpacked(packed.ids),
        scores=scores,
        bands=_unpacked(packed.bands),
        leg_ranks=_unpacked(packed.leg_ranks).T,
        leg_scores=leg_scores,
        by_band=packed.by_band,
        is_complete=packed.is_complete,
    )


def beginning(ranking: Ranking, n: int) -> Ranking:
    """Return the first n hits as a ranking that goes on, or the ranking if it is no longer."""
    if len(ranking) <= n:
        return ranking
    return replace(ranking.taken(slice(0, n)), is_complete=False)


def _packed(array: NDArray[Any], kind: DTypeLike) -> PackedArray:
    there = np.ascontiguousarray(array, dtype=kind)
    planes = there.reshape(-1).view(np.uint8).reshape(there.size, there.itemsize).T
    return PackedArray(array.shape, there.dtype.str, zlib.compress(planes.tobytes(), LEVEL))


def _unpacked(packed: PackedArray) -> NDArray[Any]:
    kind = np.dtype(packed.kind)
    planes = np.frombuffer(zlib.decompress(packed.planes), np.uint8).reshape(kind.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(kind).reshape(packed.shape)
