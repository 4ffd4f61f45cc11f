"""What an auto tag would find while it is being written: the best images, and its border.

Nothing is stored. Only the best of the ranking are looked at: it takes the time of a search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from embeddings.encoders import registry
from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from embeddings.streams import read_vectors
from embeddings.vectors import Ids, Scores, Vectors
from gallery import spaces
from gallery.auto_tags import calibration as calibrating
from gallery.auto_tags.changes import Setting
from gallery.auto_tags.known import Known, known_to
from gallery.auto_tags.ranking import ranking_of
from gallery.auto_tags.scoring import Scorer
from gallery.auto_tags.wording import Wording
from gallery.errors import SearchUnavailable
from gallery.models import AutoTag, Image, ImageEmbedding, TagMode
from gallery.search import background, text_vector

if TYPE_CHECKING:
    from django.contrib.auth.models import User

DEPTH = 500  # of the ranking
SHOWN = 8  # of each kind


@dataclass(frozen=True)
class Scored:
    image: Image
    score: float
    fits: str  # "applied", "suggested" or ""


@dataclass(frozen=True)
class Preview:
    """What an auto tag would find now."""

    best: tuple[Scored, ...]
    border: tuple[Scored, ...]  # the last that would be suggested, and the next that would not
    fitting: int  # images
    is_more: bool  # at least so many: the ranking goes on
    unknown_words: tuple[str, ...]
    note: str


def preview(owner: User, setting: Setting, auto_tag: AutoTag | None = None) -> Preview:
    """Return what an auto tag would find among its owner's images.

    With the answers that `auto_tag` has. Raise SearchUnavailable where the encoder or the space is
    missing.
    """
    space = spaces.active_lately()
    if space is None:
        raise SearchUnavailable("No encoder is chosen yet, so nothing can be compared.")
    try:
        vectors = setting.wording.vectors(lambda texts: _encoded(space, texts))
        owned = Image.objects.filter(owner=owner.pk, version_of=None)
        ids, scores = ranking_of(owned, space, vectors, k=DEPTH)
        limits = _limits(space, vectors, scores, setting, auto_tag)
        unknown = _unknown_words(space, setting.wording)
    except EmbeddingsError as error:
        raise SearchUnavailable(f"Nothing can be compared now: {error}") from error
    least = min(limits.suggest, limits.apply)
    fitting = int(np.count_nonzero(scores >= least))
    half = SHOWN // 2
    # From the best ones on, so that no image is shown twice.
    start = max(min(fitting - half, len(ids) - SHOWN), SHOWN, 0)
    chosen = [*range(min(SHOWN, len(ids))), *range(start, min(start + SHOWN, len(ids)))]
    shown = _read(ids, scores, chosen, limits, owner)
    return Preview(
        best=tuple(one for place, one in shown if place < SHOWN),
        border=tuple(one for place, one in shown if place >= SHOWN),
        fitting=fitting,
        is_more=fitting == len(ids) >= DEPTH,
        unknown_words=unknown,
        note=limits.note,
    )


def _encoded(space: Space, texts: Sequence[str]) -> Vectors:
    # One by one, from the cache: while somebody types, few of them change.
    return np.stack([text_vector(space, text) for text in texts])


def _limits(
    space: Space, vectors: Vectors, scores: Scores, setting: Setting, auto_tag: AutoTag | None
) -> calibrating.Limits:
    scorer = Scorer([vectors])
    sample = background.drawn_lately(ImageEmbedding, space)
    (found,) = calibrating.grounds_of(scorer.scores(sample.vectors), sample.population)
    known = known_to([auto_tag.pk]).get(auto_tag.pk, Known()) if auto_tag else Known()
    ids, of_answered = read_vectors(ImageEmbedding, space, only=known.answered)
    answers = known.answers(ids, scorer.scores(of_answered)[:, 0])
    fitted = calibrating.fit(answers)
    limits = calibrating.limits_of(
        found,
        scores[scores >= calibrating.floor_of(found, fitted)],
        answers,
        wanted_precision=setting.wanted_precision,
        fitted=fitted,
    )
    if setting.mode == TagMode.APPLY:
        return limits
    return calibrating.Limits(limits.suggest, inf, limits.border, limits.is_fitted, limits.note)


def _unknown_words(space: Space, wording: Wording) -> tuple[str, ...]:
    encoder = registry.load(space)
    words = [word for prompt in wording.prompts for word in encoder.unknown_words(prompt)]
    return tuple(dict.fromkeys(words))


def _read(
    ids: Ids, scores: Scores, places: list[int], limits: calibrating.Limits, owner: User
) -> list[tuple[int, Scored]]:
    """Return images by their place, as they are now: what is gone leaves a gap."""
    wanted = [int(ids[place]) for place in places]
    owned = Image.objects.filter(pk__in=wanted, owner=owner.pk).defer("full_text")
    image_by_id = {image.pk: image for image in owned}
    return [
        (place, Scored(image, float(scores[place]), _fits(float(scores[place]), limits)))
        for place, id_ in zip(places, wanted, strict=True)
        if (image := image_by_id.get(id_)) is not None
    ]


def _fits(score: float, limits: calibrating.Limits) -> str:
    if score >= limits.apply:
        return "applied"
    return "suggested" if score >= limits.suggest else ""
