"""The images that an auto tag's vectors are nearest to, without comparing all of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from embeddings.models import Space
from embeddings.nearest import nearest
from embeddings.vectors import Ids, Scores, Vectors
from gallery.auto_tags.wording import unpacked
from gallery.models import AutoTag, AutoTagCalibration, Image, ImageEmbedding, ImageQuerySet


class Ranking(NamedTuple):
    """Images, best first."""

    ids: Ids
    scores: Scores


def ranking_of(images: ImageQuerySet, space: Space, vectors: Vectors, *, k: int) -> Ranking:
    """Return the k best of some images, each by the best of several prompts."""
    best: dict[int, float] = {}
    for vector in vectors:
        found = nearest(ImageEmbedding, space, vector, k=k, within=images)
        for id_, score in zip(found.ids.tolist(), found.scores.tolist(), strict=True):
            best[id_] = max(score, best.get(id_, -1.0))
    # What is among the k best of all is among the k best of its prompt.
    ranked = sorted(best.items(), key=lambda one: (-one[1], one[0]))[:k]
    return Ranking(
        np.array([id_ for id_, _ in ranked], dtype=np.int64),
        np.array([score for _, score in ranked], dtype=np.float32),
    )


def unasked(auto_tag: AutoTag, *, k: int) -> Ranking:
    """Return the k best images of its owner that are neither suggested, answered nor tagged.

    None before its prompts are encoded in the space in use.
    """
    stored = AutoTagCalibration.objects.filter(
        auto_tag=auto_tag, space__state=Space.State.ACTIVE, wording=auto_tag.wording
    )
    one = stored.select_related("space").first()
    if one is None:
        return Ranking(np.empty(0, np.int64), np.empty(0, np.float32))
    images = Image.objects.filter(owner=auto_tag.owner_id, version_of=None)
    images = images.exclude(tag_suggestions__auto_tag=auto_tag).exclude(tags=auto_tag.tag_id)
    return ranking_of(images, one.space, unpacked(one.vectors, one.space.dimensions), k=k)
