"""Proving precisions without being asked: once there is enough to compare on, and again later."""

from __future__ import annotations

import logging

from django.conf import settings
from django.core.cache import cache

from embeddings import counts, tuning
from embeddings.encoders import precisions
from embeddings.encoders.precisions import TowerName
from embeddings.errors import EncoderUnavailable, NotTuned
from embeddings.models import Space
from gallery import spaces
from gallery.models import ImageEmbedding
from gallery.tuning import drawing

log = logging.getLogger(__name__)

LEAST_VECTORS = 256  # before that a proof would say little
REFUSED_SECONDS = 3600  # before what could not be compared is looked at again


def tune_due() -> bool:
    """Prove the precisions of one tower of a space that needs it. Return whether that was done."""
    if settings.ENCODER_PRECISION in (precisions.FLOAT32, precisions.BFLOAT16):
        return False  # it serves as said; int8 of images needs a calibration
    return any(
        _tune(space, tower)
        for space in spaces.current()
        for tower in _due(space)
        if not cache.get(_refusal(space, tower))
    )


def _due(space: Space) -> list[TowerName]:
    vectors = counts.count(ImageEmbedding.objects.filter(space=space))
    return tuning.due(space, vectors=vectors) if vectors >= LEAST_VECTORS else []


def _tune(space: Space, tower: TowerName) -> bool:
    try:
        sample = drawing.draw(space, towers=[tower])
        return len(list(tuning.tune(space, sample, towers=[tower]))) > 0
    except (EncoderUnavailable, NotTuned) as error:
        log.info("The %s tower of %s stays as it is: %s", tower, space, error)
        cache.set(_refusal(space, tower), 1, REFUSED_SECONDS)
        return False


def _refusal(space: Space, tower: TowerName) -> str:
    return f"semblance:not-tuned:{space.pk}:{tower}"
