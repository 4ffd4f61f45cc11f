"""Vectors of images against auto tags: all of a space in one reading, or some that are new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
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
from gallery.auto_tags.writing import Superseded
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

    ids: Ids  # ascending
    accepted: frozenset[int]

    @classmethod
    def of(cls, auto_tag_id: int) -> Answered:
        states = (SuggestionState.ACCEPTED, SuggestionState.REJECTED)
        rows = TagSuggestion.objects.filter(auto_tag=auto_tag_id, state__in=states)
        state_by_id = dict(rows.order_by("image_id").values_list("image_id", "state"))
        yes = (id_ for id_, state in state_by_id.items() if state == SuggestionState.ACCEPTED)
        return cls(np.array(list(state_by_id), dtype=np.int64), frozenset(yes))

    def scored(self, ids: Ids, scores: Scores) -> Answers:
        """Return the answers of which there are scores: `ids` are ascending."""
        both = np.isin(ids, self.ids)
        accepted = np.array([id_ in self.accepted for id_ in ids[both].tolist()], dtype=np.bool_)
        return Answers(scores[both], accepted)


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
    owned = {one.owner_id: read_ids(Image.objects.filter(owner=one.owner_id)) for one in passes}
    for ids, vectors in stream_vectors(ImageEmbedding, space):
        scores = scorer.scores(vectors)
        is_owned = {owner: np.isin(ids, those) for owner, those in owned.items()}
        for column, one in enumerate(passes):
            mine = is_owned[one.owner_id]
            one.take(ids[mine], scores[mine, column])
    population = population_of(space)
    return sum(one.finish(population) for one in passes)


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
    changed = 0
    for column, one in enumerate(listed):
        limits = limits_in(one)
        fits = scores[:, column] >= min(limits.suggest, limits.apply)
        is_known = np.isin(ids, known[one.auto_tag_id])
        chosen = (fits | is_known) & (owner_ids == one.auto_tag.owner_id)
        if chosen.any():
            try:
                changed += writing.write(one.auto_tag, ids[chosen], scores[chosen, column], limits)
            except Superseded:
                continue  # compared with all images soon, these among them
    return changed


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
    for one in calibrations:
        writing.settle(one.auto_tag)
    answered = [Answered.of(one.auto_tag_id) for one in calibrations]
    everything = np.unique(np.concatenate([one.ids for one in answered]))
    ids, vectors = read_vectors(ImageEmbedding, space, only=everything)
    scores = scorer.scores(vectors)
    return [
        _Pass(
            one,
            background_of(sample_scores[:, column], sample.population),
            answered[column],
            answered[column].scored(ids, scores[:, column]),
        )
        for column, one in enumerate(calibrations)
    ]


class _Pass:
    """One auto tag on its way through all vectors."""

    def __init__(
        self,
        stored: AutoTagCalibration,
        background: Background,
        answered: Answered,
        answers: Answers,
    ) -> None:
        self._stored = stored
        self._background = background
        self._answered = answered
        self._answers = answers
        self._fitted = calibrating.fit(answers)
        self._floor = calibrating.floor_of(background, self._fitted)
        known = TagSuggestion.objects.filter(auto_tag=stored.auto_tag_id)
        self._known = read_ids(known, "image_id")
        self._ids: list[Ids] = []
        self._scores: list[Scores] = []

    @property
    def owner_id(self) -> int:
        return int(self._stored.auto_tag.owner_id)

    def take(self, ids: Ids, scores: Scores) -> None:
        """Keep what may fit, and what something was said of."""
        kept = scores >= self._floor
        if len(self._known):
            kept |= np.isin(ids, self._known)
        self._ids.append(ids[kept])
        self._scores.append(scores[kept])

    def finish(self, population: int) -> int:
        """Write suggestions, tags and limits; return how many suggestions changed."""
        ids = np.concatenate([np.empty(0, np.int64), *self._ids])
        scores = np.concatenate([np.empty(0, np.float32), *self._scores])
        self._note(self._limits(ids, scores), population)
        limits = limits_in(self._stored)
        of_interest = (scores >= min(limits.suggest, limits.apply)) | np.isin(ids, self._known)
        try:
            changed = writing.write(
                self._stored.auto_tag, ids[of_interest], scores[of_interest], limits
            )
        except Superseded:
            return 0
        writing.forget_scores(self._stored.auto_tag, but=ids[of_interest])
        # Last: until its version stands there, it is to be done. Not where it has other vectors.
        same = AutoTagCalibration.objects.filter(pk=self._stored.pk, wording=self._stored.wording)
        same.update(**{name: getattr(self._stored, name) for name in _WRITTEN})
        return changed

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
        is_open = ~np.isin(ids[order], self._answered.ids) & (ranked >= limits.suggest)
        if self._stored.auto_tag.mode == TagMode.APPLY:
            is_open &= ranked < limits.apply
        return calibrating.at_most_open(limits, ranked[is_open])

    def _note(self, limits: Limits, population: int) -> None:
        stored = self._stored
        stored.version = stored.auto_tag.version
        stored.mean, stored.deviation = self._background.mean, self._background.deviation
        stored.population = population
        stored.accepted = len(self._answered.accepted)
        stored.rejected = len(self._answered.ids) - stored.accepted
        stored.suggest_at = _finite(limits.suggest)
        stored.apply_at = _finite(limits.apply)
        stored.border = _finite(limits.border)
        stored.is_fitted, stored.note = limits.is_fitted, limits.note
        stored.calibrated_at = timezone.now()


_WRITTEN = (
    *("version", "mean", "deviation", "population", "accepted", "rejected"),
    *("suggest_at", "apply_at", "border", "is_fitted", "note", "calibrated_at"),
)


def _finite(limit: float) -> float | None:
    return limit if isfinite(limit) else None
