"""Vectors of images against auto tags: all of a space in one reading, or some that are new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import inf, isfinite

import numpy as np
from django.db import transaction
from django.utils import timezone

from embeddings import counts
from embeddings.models import Space
from embeddings.streams import read_ids, stream_vectors
from embeddings.vectors import Ids, Scores, Vectors
from gallery.auto_tags import calibration as calibrating
from gallery.auto_tags import writing
from gallery.auto_tags.calibration import Ground, Limits
from gallery.auto_tags.known import Known, known_to
from gallery.auto_tags.scoring import Scorer
from gallery.auto_tags.wording import unpacked
from gallery.auto_tags.writing import Scored
from gallery.models import AutoTagCalibration, Image, ImageEmbedding, TagMode
from gallery.search import background


def compare_all(space: Space, calibrations: Sequence[AutoTagCalibration]) -> int:
    """Calibrate some auto tags and compare all images of their owners with them.

    Return how many suggestions changed. One that is changed meanwhile is due once more.
    """
    if not calibrations:
        return 0  # they were deleted a moment ago
    # What is written from here on is of this space: back in another one, all is to be done anew.
    AutoTagCalibration.objects.filter(
        auto_tag__in=[one.auto_tag_id for one in calibrations]
    ).exclude(space=space).update(version=None)
    scorer = scorer_of(calibrations)
    passes = _begin(space, calibrations, scorer)
    owners = {one.owner_id for one in passes}
    owned = {owner: read_ids(Image.objects.filter(owner=owner)) for owner in owners}
    for ids, vectors in stream_vectors(ImageEmbedding, space):
        scores = scorer.scores(vectors)
        is_owned = {owner: np.isin(ids, those) for owner, those in owned.items()}
        for column, one in enumerate(passes):
            mine = is_owned[one.owner_id]
            one.take(ids[mine], scores[mine, column])
    return _finish(passes, population_of(space))


def population_of(space: Space) -> int:
    """Return how many vectors a space has; of many, about how many."""
    return counts.count(ImageEmbedding.objects.filter(space=space))


def compare_some(calibrations: Iterable[AutoTagCalibration], ids: Ids, vectors: Vectors) -> int:
    """Compare images with auto tags by the limits that these have.

    Return how many suggestions changed.
    """
    listed = list(calibrations)
    if not listed:
        return 0
    scores = scorer_of(listed).scores(vectors)
    owners = dict(Image.objects.filter(pk__in=ids.tolist()).values_list("pk", "owner_id"))
    owner_ids = np.array([owners.get(id_, 0) for id_ in ids.tolist()], dtype=np.int64)
    known = known_to([one.auto_tag_id for one in listed], ids)
    several = []
    for column, one in enumerate(listed):
        limits, rows = limits_in(one), known.get(one.auto_tag_id, Known())
        of_interest = scores[:, column] >= min(limits.suggest, limits.apply)
        of_interest |= np.isin(ids, rows.ids)
        of_interest &= owner_ids == one.auto_tag.owner_id
        mine = ids[of_interest]
        several.append(Scored(one.auto_tag, mine, scores[of_interest, column], limits, rows))
    # What is superseded is compared with all images soon, these among them.
    return writing.write(several).changed


def scorer_of(calibrations: Iterable[AutoTagCalibration]) -> Scorer:
    return Scorer([unpacked(one.vectors, one.space.dimensions) for one in calibrations])


def limits_in(stored: AutoTagCalibration) -> Limits:
    """Return the limits that a calibration has, as the mode of its auto tag lets them be used."""
    suggest, apply, border = (
        inf if limit is None else limit
        for limit in (stored.suggest_at, stored.apply_at, stored.border)
    )
    if stored.auto_tag.mode != TagMode.APPLY:
        apply = inf
    return Limits(suggest, apply, border, stored.is_fitted, stored.note)


def _begin(space: Space, calibrations: Sequence[AutoTagCalibration], scorer: Scorer) -> list[_Pass]:
    sample = background.draw(ImageEmbedding, space)
    grounds = calibrating.grounds_of(scorer.scores(sample.vectors), sample.population)
    auto_tags = [one.auto_tag_id for one in calibrations]
    writing.settle(auto_tags)
    read_at = timezone.now()  # what is answered from here on, the calibrations do not know
    known = known_to(auto_tags)
    answered = [one.answered for one in known.values()]
    ids, scores = _scores_of(space, scorer, np.unique(np.concatenate([_NO_IDS, *answered])))
    return [
        _Pass(
            one,
            grounds[column],
            known.get(one.auto_tag_id, Known()),
            (ids, scores[:, column]),
            read_at,
        )
        for column, one in enumerate(calibrations)
    ]


def _scores_of(space: Space, scorer: Scorer, only: Ids) -> tuple[Ids, Scores]:
    """Return some images that have vectors, and their scores, (n, auto tags)."""
    found = [(_NO_IDS, scorer.scores(np.empty((0, space.dimensions), np.float32)))]
    if len(only):
        # Answers to many auto tags may be about most images: their vectors are not kept.
        for ids, vectors in stream_vectors(ImageEmbedding, space, only=only):
            found.append((ids, scorer.scores(vectors)))
    return np.concatenate([ids for ids, _ in found]), np.concatenate([two for _, two in found])


def _finish(passes: Sequence[_Pass], population: int) -> int:
    """Write suggestions, tags and limits; return how many suggestions changed."""
    several = [one.scored(population) for one in passes]
    written = writing.write(several)
    writing.forget_scores(one for one in several if one.auto_tag.pk not in written.superseded)
    # Last: until its version stands there, it is to be done. Not where it has other vectors.
    with transaction.atomic():
        for one in passes:
            if one.auto_tag_id not in written.superseded:
                one.keep()
    return written.changed


class _Pass:
    """One auto tag on its way through all vectors."""

    def __init__(
        self,
        stored: AutoTagCalibration,
        background: Ground,
        known: Known,
        of_answered: tuple[Ids, Scores],
        read_at: datetime,
    ) -> None:
        self._stored = stored
        self._read_at = read_at
        self._background = background
        self._known = known
        self._answers = known.answers(*of_answered)
        self._fitted = calibrating.fit(self._answers)
        self._floor = calibrating.floor_of(background, self._fitted)
        self._ids: list[Ids] = []
        self._scores: list[Scores] = []

    @property
    def auto_tag_id(self) -> int:
        return int(self._stored.auto_tag_id)

    @property
    def owner_id(self) -> int:
        return int(self._stored.auto_tag.owner_id)

    def take(self, ids: Ids, scores: Scores) -> None:
        """Keep what may fit, and what something was said of."""
        kept = scores >= self._floor
        if len(self._known.ids):
            kept |= np.isin(ids, self._known.ids)
        self._ids.append(ids[kept])
        self._scores.append(scores[kept])

    def scored(self, population: int) -> Scored:
        """Return what is to be written of it, when all vectors were seen."""
        ids = np.concatenate([_NO_IDS, *self._ids])
        scores = np.concatenate([np.empty(0, np.float32), *self._scores])
        self._note(self._limits(ids, scores), population)
        limits = limits_in(self._stored)
        of_interest = scores >= min(limits.suggest, limits.apply)
        of_interest |= np.isin(ids, self._known.ids)
        ids, scores = ids[of_interest], scores[of_interest]
        return Scored(self._stored.auto_tag, ids, scores, limits, self._known)

    def keep(self) -> None:
        """Write the calibration down."""
        same = AutoTagCalibration.objects.filter(pk=self._stored.pk, wording=self._stored.wording)
        same.update(**{name: getattr(self._stored, name) for name in _WRITTEN})

    def _limits(self, ids: Ids, scores: Scores) -> Limits:
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= self._floor]
        ranked = scores[order]
        limits = calibrating.limits_of(
            self._background,
            ranked,
            self._answers,
            wanted_precision=self._stored.auto_tag.wanted_precision,
            fitted=self._fitted,
        )
        is_open = ~np.isin(ids[order], self._known.answered) & (ranked >= limits.suggest)
        if self._stored.auto_tag.mode == TagMode.APPLY:
            is_open &= ranked < limits.apply
        return calibrating.at_most_open(limits, ranked[is_open])

    def _note(self, limits: Limits, population: int) -> None:
        stored = self._stored
        stored.version = stored.auto_tag.version
        stored.mean, stored.deviation = self._background.mean, self._background.deviation
        stored.population = population
        stored.accepted, stored.rejected = self._known.accepted, self._known.rejected
        stored.suggest_at = _finite(limits.suggest)
        stored.apply_at = _finite(limits.apply)
        stored.border = _finite(limits.border)
        stored.is_fitted, stored.note = limits.is_fitted, limits.note
        stored.calibrated_at = self._read_at


_NO_IDS = np.empty(0, np.int64)
_WRITTEN = (
    *("version", "mean", "deviation", "population", "accepted", "rejected"),
    *("suggest_at", "apply_at", "border", "is_fitted", "note", "calibrated_at"),
)


def _finite(limit: float) -> float | None:
    return limit if isfinite(limit) else None
