"""A fixed random sample of a space: what the scores of a query are compared with."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import numpy as np

from embeddings import live
from embeddings.models import AbstractEmbedding, Space
from embeddings.streams import read_ids, read_vectors
from embeddings.vectors import Vectors

SIZE = 2000
KEEP_SECONDS = 10.0  # a sample drawn here; the one of an index lives as long as the index


class Sample(NamedTuple):
    vectors: Vectors  # (n, d), n <= SIZE
    population: int  # vectors in the space


_drawn: dict[tuple[str, int, str, str], tuple[float, Sample]] = {}
_drawing = threading.Lock()


def of(model: type[AbstractEmbedding], space: Space) -> Sample:
    """Return the sample that comes with the live index, or one drawn from Postgres."""
    view = live.index_of(model, space).view()
    if view is not None and len(view.background):
        return Sample(view.background, len(view))
    return drawn_lately(model, space)


def drawn_lately(model: type[AbstractEmbedding], space: Space) -> Sample:
    """Return a sample of all that was stored some seconds ago, without any index."""
    # In a database that was just restored the same number may be another encoder's space.
    key = (model._meta.db_table, space.pk, space.name, space.revision)
    with _drawing:
        drawn_at, sample = _drawn.get(key, (-KEEP_SECONDS, None))
        if sample is None or time.monotonic() - drawn_at > KEEP_SECONDS:
            sample = draw(model, space)
            _drawn[key] = (time.monotonic(), sample)
        return sample


def draw(model: type[AbstractEmbedding], space: Space) -> Sample:
    """Return a sample of all that is stored now."""
    ids = read_ids(model._default_manager.filter(space=space), model.subject_field().attname)
    chosen = np.random.default_rng(0).choice(ids, min(SIZE, len(ids)), replace=False)
    _, vectors = read_vectors(model, space, only=np.sort(chosen))
    return Sample(vectors, len(ids))
