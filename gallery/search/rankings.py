"""A ranking: the hits of a search, in their order, with bands; and how it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from embeddings.models import Space
from embeddings.nearest import MAX_K
from embeddings.streams import read_vectors
from embeddings.vectors import Ids, Scores
from gallery.models import ImageEmbedding
from gallery.query import Leg, Order
from gallery.search import diversity, fusion, legs
from gallery.search.bands import BANDS, Bands
from gallery.search.legs import FoundLeg, Sources
from gallery.search.prepared import PreparedQuery

LONGEST = MAX_K
DEPTHS = (2_000, 20_000, LONGEST)  # of a whole ranking: deeper while the end is still relevant
FUSED_DEPTH = 1000  # of each leg, before a first page of fused hits
SPREAD = 10  # times k: the head whose hits are made unlike one another
LONGEST_SPREAD = 1000

# What each order sorts by, and never what a person wrote. Images without the value come last.
COLUMN_BY_ORDER = {
    Order.TAKEN: "taken_at ASC NULLS LAST",
    Order.NEWEST_TAKEN: "taken_at DESC NULLS LAST",
    Order.ADDED: "added_at ASC",
    Order.NEWEST_ADDED: "added_at DESC",
    Order.NAME: "nullif(lower(original_name), '') ASC NULLS LAST",
    Order.NAME_BACKWARDS: "nullif(lower(original_name), '') DESC NULLS LAST",
    Order.SIZE: "width::bigint * height ASC",
    Order.LARGEST: "width::bigint * height DESC",
}


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Hits in their order, (n,); of each leg the rank (0: not found) and score, (n, legs)."""

    ids: Ids
    scores: Scores
    bands: Bands
    leg_ranks: NDArray[np.int32]
    leg_scores: NDArray[np.float32]
    by_band: tuple[int, int, int]  # hits found of each band, those left out too
    is_complete: bool  # nothing relevant is missing at its end

    def __len__(self) -> int:
        return len(self.ids)

    def taken(self, places: NDArray[np.int64] | slice) -> Ranking:
        """Return the hits at some places, in that order."""
        return replace(
            self,
            ids=self.ids[places],
            scores=self.scores[places],
            bands=self.bands[places],
            leg_ranks=self.leg_ranks[places],
            leg_scores=self.leg_scores[places],
        )


def first_depth(query: PreparedQuery) -> int:
    """Return how deep the legs must look for the first page, and to know if there is another."""
    depth = query.k + 1
    if query.diversity:
        depth = max(depth, _head(query))
    if query.is_fused:
        # An image that some leg ranks below this adds less than 1 / 1060 to its fused score.
        depth = max(depth, FUSED_DEPTH, 10 * query.k)
    return depth


def make(
    query: PreparedQuery, sources: Sources, depth: int
) -> tuple[Ranking, tuple[FoundLeg, ...]]:
    """Return the relevant hits among the first `depth` of each leg, and these legs."""
    found = legs.find(query, sources, depth)
    ranking = _relevant(query, _fused(found), sources.space)
    if query.order != Order.RELEVANCE:
        ranking = ranking.taken(_sorted_by(query.order, ranking.ids))
    elif query.diversity:
        ranking = _spread(query, ranking, sources.space)
    return ranking, found


def make_first(query: PreparedQuery, sources: Sources) -> tuple[Ranking, tuple[FoundLeg, ...]]:
    """Return the beginning of a ranking, at least a page and a hit if there are so many."""
    if query.order != Order.RELEVANCE:
        return make_whole(query, sources)
    return make(query, sources, first_depth(query))


def make_whole(query: PreparedQuery, sources: Sources) -> tuple[Ranking, tuple[FoundLeg, ...]]:
    """Return a ranking with all that is relevant, or as much as a ranking holds."""
    for depth in _depths(query):
        ranking, found = make(query, sources, depth)
        if ranking.is_complete:
            break
    return ranking, found


def _depths(query: PreparedQuery) -> tuple[int, ...]:
    """Return the depths that may be deep enough."""
    if query.least_band != BANDS[-1] or query.min_score is not None:
        return DEPTHS
    # All that pass are wanted, and where that is not all there are, a deeper look costs no more.
    all_there_are = max((some.population for some in query.backgrounds.values()), default=0)
    return tuple(depth for depth in DEPTHS if depth > all_there_are) or DEPTHS[-1:]


def continued(head: Ranking, longer: Ranking) -> Ranking:
    """Return the longer ranking with the head, which was shown already, as its beginning."""
    rest = longer.taken(np.flatnonzero(~np.isin(longer.ids, head.ids)))
    return replace(
        longer,
        ids=np.concatenate([head.ids, rest.ids]),
        scores=np.concatenate([head.scores, rest.scores]),
        bands=np.concatenate([head.bands, rest.bands]),
        leg_ranks=np.concatenate([head.leg_ranks, rest.leg_ranks]),
        leg_scores=np.concatenate([head.leg_scores, rest.leg_scores]),
    )


def _fused(found: tuple[FoundLeg, ...]) -> Ranking:
    lists = [leg.found for leg in found]
    joined = lists[0]
    if len(found) > 1:
        joined = fusion.reciprocal_rank(lists, [leg.weight for leg in found])
    n = len(joined.ids)
    ranks = np.empty((n, len(found)), np.int32)
    scores = np.zeros((n, len(found)), np.float32)
    for column, some in enumerate(lists):
        ranks[:, column] = fusion.ranks_in(some, joined.ids) if len(found) > 1 else range(1, n + 1)
        is_there = ranks[:, column] > 0
        scores[is_there, column] = some.scores[ranks[is_there, column] - 1]
    return Ranking(
        ids=joined.ids,
        scores=joined.scores,
        bands=joined.bands,
        leg_ranks=ranks,
        leg_scores=scores,
        by_band=(0, 0, 0),
        is_complete=all(leg.is_complete for leg in found),
    )


def _relevant(query: PreparedQuery, ranking: Ranking, space: Space | None) -> Ranking:
    """Leave out what lies below the least score and the least band, and count by band."""
    if query.min_score is not None and len(query.weights) > 1:
        ranking = ranking.taken(_scoring(query, query.min_score, ranking, space))
    likely, maybe, unlikely = np.bincount(ranking.bands, minlength=len(BANDS)).tolist()
    shown = np.flatnonzero(ranking.bands <= BANDS.index(query.least_band))
    return replace(ranking.taken(shown), by_band=(likely, maybe, unlikely))


def _scoring(
    query: PreparedQuery, least: float, ranking: Ranking, space: Space | None
) -> NDArray[np.int64]:
    """Return the places of the hits whose images score enough, whichever leg has found them."""
    assert space is not None
    column = [leg for leg, _ in query.weights].index(Leg.IMAGE)
    enough = ranking.leg_ranks[:, column] > 0  # the image leg has left out the others
    ids, vectors = read_vectors(ImageEmbedding, space, only=ranking.ids[~enough])
    directions = np.stack([direction.vector for direction in query.directions])
    scores = (vectors @ directions.T).max(axis=1, initial=-1.0)
    return np.flatnonzero(enough | np.isin(ranking.ids, ids[scores >= least]))


def _sorted_by(order: Order, ids: Ids) -> NDArray[np.int64]:
    """Return the places of the hits in an order; equal ones stay as they are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(string_agg(int8send(place), '' ORDER BY "
            f"{COLUMN_BY_ORDER[order]}, place), '') "
            "FROM unnest(%s::bigint[]) WITH ORDINALITY AS asked (id, place) "
            "JOIN gallery_image USING (id)",
            [ids.tolist()],
        )
        return np.frombuffer(cursor.fetchone()[0], dtype=">i8").astype(np.int64) - 1


def _head(query: PreparedQuery) -> int:
    return max(query.k, min(SPREAD * query.k, LONGEST_SPREAD))


def _spread(query: PreparedQuery, ranking: Ranking, space: Space | None) -> Ranking:
    """Put the head of a ranking in an order of unlike hits; what follows stays."""
    if space is None:
        return ranking
    size = min(_head(query), len(ranking))
    head = ranking.ids[:size]
    ids, vectors = read_vectors(ImageEmbedding, space, only=np.sort(head))
    there = np.zeros((size, space.dimensions), np.float32)  # a vector of zeros is unlike all
    is_there = np.isin(head, ids)
    there[is_there] = vectors[np.searchsorted(ids, head[is_there])]
    order = diversity.spread(ranking.scores[:size], there, query.diversity)
    return ranking.taken(np.concatenate([order, np.arange(size, len(ranking))]))
