"""Vectors of images against auto tags: all of a space in one reading, or some that are new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite

import numpy as np
from django.db import transaction
from django.utils import timezone

from embeddings import counts
from embeddings.models import Space
from embeddings.streams import read_ids, read_vectors, stream_vectors
from embeddings.vectors import Ids, Scores, Vectors
from gallery.auto_tags import calibration as calibrating
from gallery.auto_tags import writing
from gallery.auto_tags.calibration import Answers, Limits
from gallery.auto_tags.scoring import Scorer
from gallery.auto_tags.wording import unpacked
from gallery.auto_tags.writing import Scored
from gallery.models import (
    AutoTagCalibration,
    Image,
    ImageEmbedding,
    SuggestionState,
    TagMode,
    TagSuggestion,
)
from gallery.search import background
from gallery.search.bands import Background, background_of


@dataclass(frozen=True)
class Answered:
    """The images of which people said yes or no to an auto tag, and which of them it was."""

    ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))  # ascending
    accepted: frozenset[int] = frozenset()

    def scored(self, ids: Ids, scores: Scores) -> Answers:
        """Return the answers of which there are scores: `ids` are ascending."""
        both = np.isin(ids, self.ids)
        accepted = np.array([id_ in self.accepted for id_ in ids[both].tolist()], dtype=np.bool_)
        return Answers(scores[both], accepted)


@dataclass(frozen=True)
class Known:
    """The images of which an auto tag has a row, and the answers among them."""

    ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))  # ascending
    answered: Answered = field(default_factory=Answered)


def known_to(auto_tags: Iterable[int]) -> dict[int, Known]:
    """Return what is known to auto tags; those without any rows are left out."""
    rows = TagSuggestion.objects.filter(auto_tag__in=list(auto_tags)).order_by("image_id")
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for auto_tag, image, state in rows.values_list("auto_tag_id", "image_id", "state"):
        found[auto_tag].append((image, state))
    return {
        auto_tag: Known(
            np.array([image for image, _ in each], dtype=np.int64),
            Answered(
                np.array([image for image, state in each if state in _ANSWERED], dtype=np.int64),
                frozenset(image for image, state in each if state == SuggestionState.ACCEPTED),
            ),
        )
        for auto_tag, each in found.items()
    }


def compare_all(space: Space, calibrations: Sequence[AutoTagCalibration]) -> int:
    """Calibrate some auto tags and compare all images of their owners with them.

    Return how many suggestions changed. One that is changed meanwhile is due once more.
    """
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
    known: dict[int, list[int]] = defaultdict(list)
    rows = TagSuggestion.objects.filter(image__in=ids.tolist())
    for auto_tag, image in rows.values_list("auto_tag_id", "image_id"):
        known[auto_tag].append(image)
    several = []
    for column, one in enumerate(listed):
        limits = limits_in(one)
        fits = scores[:, column] >= min(limits.suggest, limits.apply)
        is_known = np.isin(ids, known[one.auto_tag_id])
        chosen = (fits | is_known) & (owner_ids == one.auto_tag.owner_id)
        if chosen.any():
            several.append(Scored(one.auto_tag, ids[chosen], scores[chosen, column], limits))
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
    sample_scores = scorer.scores(sample.vectors)
    auto_tags = [one.auto_tag_id for one in calibrations]
    writing.settle(auto_tags)
    known = known_to(auto_tags)
    answered = [one.answered.ids for one in known.values()]
    everything = np.unique(np.concatenate([np.empty(0, np.int64), *answered]))
    ids, vectors = read_vectors(ImageEmbedding, space, only=everything)
    scores = scorer.scores(vectors)
    return [
        _Pass(
            one,
            background_of(sample_scores[:, column], sample.population),
            known.get(one.auto_tag_id, Known()),
            (ids, scores[:, column]),
        )
        for column, one in enumerate(calibrations)
    ]


def _finish(passes: Sequence[_Pass], population: int) -> int:
    """Write suggestions, tags and limits; return how many suggestions changed."""
    several = [one.scored(population) for one in passes]
    written = writing.write(several)
    whole = [one for one in several if one.auto_tag.pk not in written.superseded]
    writing.forget_scores(whole)
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
        background: Background,
        known: Known,
        of_answered: tuple[Ids, Scores],
    ) -> None:
        self._stored = stored
        self._background = background
        self._known = known
        self._answers = known.answered.scored(*of_answered)
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
        ids = np.concatenate([np.empty(0, np.int64), *self._ids])
        scores = np.concatenate([np.empty(0, np.float32), *self._scores])
        self._note(self._limits(ids, scores), population)
        limits = limits_in(self._stored)
        of_interest = scores >= min(limits.suggest, limits.apply)
        of_interest |= np.isin(ids, self._known.ids)
        return Scored(self._stored.auto_tag, ids[of_interest], scores[of_interest], limits)

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
        is_open = ~np.isin(ids[order], self._known.answered.ids) & (ranked >= limits.suggest)
        if self._stored.auto_tag.mode == TagMode.APPLY:
            is_open &= ranked < limits.apply
        return calibrating.at_most_open(limits, ranked[is_open])

    def _note(self, limits: Limits, population: int) -> None:
        stored = self._stored
        stored.version = stored.auto_tag.version
        stored.mean, stored.deviation = self._background.mean, self._background.deviation
        stored.population = population
        stored.accepted = len(self._known.answered.accepted)
        stored.rejected = len(self._known.answered.ids) - stored.accepted
        stored.suggest_at = _finite(limits.suggest)
        stored.apply_at = _finite(limits.apply)
        stored.border = _finite(limits.border)
        stored.is_fitted, stored.note = limits.is_fitted, limits.note
        stored.calibrated_at = timezone.now()


_ANSWERED = (SuggestionState.ACCEPTED, SuggestionState.REJECTED)
_WRITTEN = (
    *("version", "mean", "deviation", "population", "accepted", "rejected"),
    *("suggest_at", "apply_at", "border", "is_fitted", "note", "calibrated_at"),
)


def _finite(limit: float) -> float | None:
    return limit if isfinite(limit) else None
