"""Prompts become vectors: once for each wording and space, and kept beside its calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from embeddings.encoders import registry
from embeddings.models import Space
from embeddings.vectors import Vectors
from gallery import spaces
from gallery.auto_tags.wording import Wording, packed
from gallery.models import AutoTag, AutoTagCalibration

TEXTS_AT_ONCE = 64


def encode_waiting(*, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Encode the prompts of all auto tags that have no vectors of them in the active space.

    Return of how many. Raise EncoderUnavailable when its encoder cannot be loaded.
    """
    space = spaces.active()
    encoded = 0
    if space is None:
        return 0
    for auto_tag in waiting(space):
        if not goes_on():
            break
        _keep(auto_tag, space, vectors_of(wording_of(auto_tag), space))
        encoded += 1
    return encoded


def waiting(space: Space) -> QuerySet[AutoTag]:
    """Return the auto tags without vectors of their prompts in a space, the oldest first."""
    known = AutoTagCalibration.objects.filter(
        auto_tag=OuterRef("pk"), space=space, wording=OuterRef("wording")
    )
    return AutoTag.objects.filter(~Exists(known)).order_by("pk")


def wording_of(auto_tag: AutoTag) -> Wording:
    return Wording(tuple(auto_tag.prompts), tuple(auto_tag.templates))


def vectors_of(wording: Wording, space: Space) -> Vectors:
    """Return a vector for each prompt, (prompts, d). Raise EncoderUnavailable."""
    encoder = registry.load(space)

    def encode(texts: Sequence[str]) -> Vectors:
        parts = [
            encoder.encode_texts(texts[start : start + TEXTS_AT_ONCE])
            for start in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        return np.concatenate(parts)

    return wording.vectors(encode)


@transaction.atomic
def _keep(auto_tag: AutoTag, space: Space, vectors: Vectors) -> None:
    """Write the vectors down, unless the auto tag was changed or deleted meanwhile."""
    still = AutoTag.objects.filter(pk=auto_tag.pk, wording=auto_tag.wording)
    still = still.select_for_update(no_key=True)
    # Without a version: what was computed with other vectors is computed anew.
    AutoTagCalibration.objects.bulk_create(
        [
            AutoTagCalibration(
                auto_tag_id=pk, space=space, wording=wording, vectors=packed(vectors), version=None
            )
            for pk, wording in still.values_list("pk", "wording")
        ],
        update_conflicts=True,
        unique_fields=["auto_tag", "space"],
        update_fields=["wording", "vectors", "version"],
    )


def encoded_in(space: Space) -> QuerySet[AutoTagCalibration]:
    """Return the calibrations of a space whose vectors are of their auto tag's wording now."""
    rows = AutoTagCalibration.objects.filter(space=space, auto_tag__wording=F("wording"))
    return rows.select_related("auto_tag__tag", "space").order_by("pk")
