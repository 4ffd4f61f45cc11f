"""How well the gallery finds what it should: the measures in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from embeddings import measures
from embeddings.encoders import registry
from embeddings.measures import Figures, Pairs, Ranked
from embeddings.models import Space
from embeddings.streams import read_ids, read_vectors, stream_vectors
from embeddings.vectors import Ids, Vectors
from gallery.errors import QueryInvalid
from gallery.evaluation.judgements import Candidates, Judgements
from gallery.models import ImageEmbedding
from gallery.query import Band, Mode, Query, TextTerm
from gallery.search import search

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEXTS_AT_ONCE = 64
IMAGES_AT_ONCE = 4096
DEPTH = 1000  # hits of keyword and hybrid search that are looked through


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Means over the queries of one direction; ranks begin at 1."""

    queries: int
    candidates: int  # that each query ranks
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    recall_at_10_interval: tuple[float, float]  # 95 %, bootstrap
    top_1: float
    top_5: float
    mrr: float
    ndcg_at_10: float
    median_rank: float | None  # None: half of the queries find nothing

    @classmethod
    def of(cls, ranked: Ranked, *, candidates: int, seed: int) -> Measures:
        recalls = {k: measures.recall_at_k(ranked, k) for k in (1, 5, 10)}
        median = measures.median_rank(ranked)
        return cls(
            queries=ranked.count,
            candidates=candidates,
            recall_at_1=_mean(recalls[1]),
            recall_at_5=_mean(recalls[5]),
            recall_at_10=_mean(recalls[10]),
            recall_at_10_interval=measures.interval(recalls[10], seed=seed),
            top_1=_mean(measures.success_at_k(ranked, 1)),
            top_5=_mean(measures.success_at_k(ranked, 5)),
            mrr=_mean(measures.reciprocal_ranks(ranked)),
            ndcg_at_10=_mean(measures.ndcg_at_k(ranked, 10)),
            median_rank=median if np.isfinite(median) else None,
        )


def encode(queries: list[str], space: Space) -> Vectors:
    """Return the vectors (q, dimensions) of texts. Raise EncoderUnavailable."""
    encoder = registry.load(space)
    parts = range(0, len(queries), TEXTS_AT_ONCE)
    bar = tqdm(parts, "encoding queries", unit="batch", disable=None, leave=False)
    return np.concatenate(
        [encoder.encode_texts(queries[start : start + TEXTS_AT_ONCE]) for start in bar]
    )


def text_to_image(texts: Vectors, judgements: Judgements, candidates: Candidates) -> Ranked:
    """Rank the images by each text, exactly: what the encoder can do, whatever the index does.

    `texts` is (q, dimensions), the vectors of the queries. Vectors of images are streamed twice.
    """
    allowed = read_ids(candidates.embedded)

    def blocks() -> Iterator[tuple[Ids, Vectors]]:
        stream = stream_vectors(ImageEmbedding, candidates.space)
        with tqdm(stream, "ranking images", unit="block", disable=None, leave=False) as bar:
            for ids, vectors in bar:
                may = np.isin(ids, allowed, assume_unique=True)
                yield (ids, vectors) if may.all() else (ids[may], vectors[may])

    return measures.rank(texts, judgements.pairs, blocks)


def image_to_text(texts: Vectors, judgements: Judgements, space: Space) -> Ranked:
    """Rank the judged texts by each image that one of them is about, exactly."""
    pairs = judgements.pairs
    images = np.unique(pairs.ids)
    parts = [
        _rank_texts(images[start : start + IMAGES_AT_ONCE], texts, pairs, space)
        for start in tqdm(
            range(0, len(images), IMAGES_AT_ONCE), "ranking texts", disable=None, leave=False
        )
    ]
    firsts = np.cumsum([0] + [part.count for part in parts[:-1]])
    return Ranked(
        sum(part.count for part in parts),
        np.concatenate([part.queries + first for part, first in zip(parts, firsts, strict=True)]),
        np.concatenate([part.ranks for part in parts]),
        np.concatenate([part.grades for part in parts]),
    )


def by_search(judgements: Judgements, viewer: User, mode: Mode) -> Ranked:
    """Rank the images as a person sees them who asks each query in a mode."""

    def answers() -> Iterator[Ids]:
        for text in tqdm(judgements.queries, "searching", disable=None, leave=False):
            query = Query(terms=(TextTerm(text),), mode=mode, least_band=Band.UNLIKELY, k=DEPTH)
            try:
                hits = search(query, viewer).hits
            except QueryInvalid:
                hits = ()  # "the": no word that full text keeps, so it finds nothing
            yield np.array([hit.image.pk for hit in hits], dtype=np.int64)

    return measures.rank_in_hits(judgements.pairs, answers())


def _rank_texts(images: Ids, texts: Vectors, pairs: Pairs, space: Space) -> Ranked:
    ids, vectors = read_vectors(ImageEmbedding, space, only=images)
    is_asked = np.isin(pairs.ids, ids)  # else deleted a moment ago
    rows = np.searchsorted(ids, pairs.ids[is_asked])
    order = np.lexsort((pairs.queries[is_asked], rows))
    turned = Pairs(rows[order], pairs.queries[is_asked][order], pairs.grades[is_asked][order])
    return measures.rank(vectors, turned, lambda: [(np.arange(len(texts)), texts)])


def _mean(figures: Figures) -> float:
    return float(figures.mean())
