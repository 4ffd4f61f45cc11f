"""What the score of an image means for an auto tag: from where on it fits, and how sure that is.

Scores move with the prompts and with the encoder, so they are read against the auto tag's own
background, as bands are; and against what people said, once they have said enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Scores
from gallery.auto_tags import heaps
from gallery.search import bands
from gallery.search.bands import Background

ENOUGH_OF_EACH = 10  # yes and no, before limits follow the answers
WORTH_ASKING = 0.2  # the least probability that is suggested
# Of the way from just any image to the best one: more than the bands of a search show as maybe,
# because people go through it and say no. By the F1 for half of the things that scenes show.
SUGGESTED_SHARE = 0.55
ENOUGH_AGAINST = 10  # answers above the limit that can stop an auto tag from being applied
FALSE_ALARM = 0.05  # chance that, without answers, any image is applied that shows nothing of it
MOST_OPEN = 2000  # suggestions of one auto tag: nobody answers more, and the best are among them
_Z = 1.96  # of a 95 % interval

TOO_FEW = (
    "There are too few images, or they are too much alike, to tell what stands out: nothing is "
    "suggested yet."
)
NO_GUIDE = (
    "The answers do not follow the scores, so nothing is applied: other prompts may describe "
    "better what is meant."
)
DISPROVED = (
    "Fewer of the images it would be applied to were accepted than are wanted, so nothing is "
    "applied: answer more of them, or change the prompts."
)


@dataclass(frozen=True)
class Ground(Background):
    """How an auto tag scores on just any image, and the limit where that falls into two heaps."""

    between: float | None = None


@dataclass(frozen=True)
class Answers:
    """What people said about images, and what these score."""

    scores: Scores
    accepted: NDArray[np.bool_]

    @property
    def yes(self) -> int:
        return int(np.count_nonzero(self.accepted))

    @property
    def no(self) -> int:
        return len(self.accepted) - self.yes


@dataclass(frozen=True)
class Platt:
    """The probability of a yes by the score: a logistic curve."""

    slope: float
    middle: float  # the score at which yes and no are as likely

    def probability(self, scores: Scores) -> NDArray[np.float64]:
        steps = np.clip(self.slope * (scores.astype(np.float64) - self.middle), -500, 500)
        return np.asarray(1 / (1 + np.exp(-steps)), np.float64)

    def score_at(self, probability: float) -> float:
        return self.middle + log(probability / (1 - probability)) / self.slope


@dataclass(frozen=True)
class Limits:
    """The least scores at which an auto tag is suggested and applied; infinite: never."""

    suggest: float
    apply: float
    border: float  # where an answer tells most
    is_fitted: bool = False
    note: str = ""


@dataclass(frozen=True)
class Precision:
    """The share of yes among some answers, with its Wilson interval."""

    value: float
    low: float
    high: float
    answers: int


def precision_of(yes: int, no: int) -> Precision | None:
    """Return the precision that answers show, with its 95 % interval (Wilson 1927).

    None where there are no answers.
    """
    n = yes + no
    if not n:
        return None
    share = yes / n
    middle = share + _Z**2 / (2 * n)
    spread = _Z * sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    scale = 1 + _Z**2 / n
    low, high = (middle - spread) / scale, (middle + spread) / scale
    # At 0 and 1 only rounding keeps them from it.
    return Precision(share, min(share, max(0.0, low)), max(share, min(1.0, high)), n)


def fit(answers: Answers) -> Platt | None:
    """Return the curve of the answers; None while they are too few, or all score the same.

    Platt scaling (Platt 1999) with his targets, which keep a curve from being infinitely steep
    where yes and no are cleanly apart, by Newton's method (Lin, Lin and Weng 2007).
    """
    if min(answers.yes, answers.no) < ENOUGH_OF_EACH:
        return None
    scores = answers.scores.astype(np.float64)
    centre, spread = float(scores.mean()), float(scores.std())
    if spread < bands.LEAST_DEVIATION / 10:
        return None
    steps = np.stack([(scores - centre) / spread, np.ones_like(scores)], axis=1)
    high, low = (answers.yes + 1) / (answers.yes + 2), 1 / (answers.no + 2)
    weights = _newton(steps, np.where(answers.accepted, high, low))
    if abs(weights[0]) < 1e-6:
        return Platt(slope=-1.0, middle=centre)  # flat: no guide at all
    return Platt(weights[0] / spread, centre - spread * weights[1] / weights[0])


def grounds_of(scores: Scores, population: int) -> list[Ground]:
    """Return the ground of each auto tag from the scores of a sample, (n, auto tags)."""
    limits = heaps.between(scores).tolist()
    found = [bands.background_of(column, population) for column in scores.T]
    return [
        Ground(one.mean, one.deviation, population, None if isnan(limit) else limit)
        for one, limit in zip(found, limits, strict=True)
    ]


def floor_of(background: Ground, fitted: Platt | None) -> float:
    """Return the score below which no image can be of interest, whatever the others score."""
    if fitted is not None and fitted.slope > 0:
        return fitted.score_at(WORTH_ASKING)
    outstanding = background.mean + bands.LEAST_DEVIATIONS * background.deviation
    return outstanding if background.between is None else min(outstanding, background.between)


def limits_of(
    background: Ground,
    scores: Scores,
    answers: Answers,
    *,
    wanted_precision: float,
    fitted: Platt | None = None,
) -> Limits:
    """Return the limits of an auto tag.

    `scores` are those of all images from floor_of() on, best first; `fitted` is fit(answers).
    """
    if fitted is not None and fitted.slope > 0:
        limits = _fitted_limits(fitted, scores, wanted_precision)
    else:
        limits = _background_limits(background, scores, "" if fitted is None else NO_GUIDE)
        if not limits.note and answers.yes >= ENOUGH_OF_EACH > answers.no:
            limits = _leaning(limits, background, answers)
    above = answers.scores >= limits.apply
    yes = int(np.count_nonzero(answers.accepted & above))
    seen = precision_of(yes, int(np.count_nonzero(above)) - yes)
    if seen is not None and seen.answers >= ENOUGH_AGAINST and seen.high < wanted_precision:
        return Limits(limits.suggest, inf, limits.border, limits.is_fitted, DISPROVED)
    return limits


def at_most_open(limits: Limits, unanswered: Scores) -> Limits:
    """Return the limits so that they suggest MOST_OPEN of the unanswered scores, best first."""
    if len(unanswered) <= MOST_OPEN:
        return limits
    suggest = max(limits.suggest, float(unanswered[MOST_OPEN - 1]))
    return Limits(suggest, limits.apply, limits.border, limits.is_fitted, limits.note)


def _fitted_limits(fitted: Platt, scores: Scores, wanted_precision: float) -> Limits:
    border = fitted.score_at(0.5)
    # The longest beginning of the ranking of which, as far as the curve knows, enough is right.
    likely = scores[scores >= border]
    means = np.cumsum(fitted.probability(likely)) / np.arange(1, len(likely) + 1)
    enough = int(np.count_nonzero(means >= wanted_precision))  # the means only fall
    apply = float(likely[enough - 1]) if enough else fitted.score_at(wanted_precision)
    return Limits(fitted.score_at(WORTH_ASKING), apply, border, is_fitted=True)


def _leaning(limits: Limits, background: Ground, answers: Answers) -> Limits:
    """Suggest more where nearly all was accepted: the border lies lower, and is asked about then.

    In place of the no that are missing stand images as they come, which are hardly ever a yes.
    Nothing is applied by that.
    """
    shares = np.linspace(0.5, 0.975, ENOUGH_OF_EACH)
    deviations = np.array([NormalDist().inv_cdf(share) for share in shares], np.float32)
    any_image = np.float32(background.mean) + np.float32(background.deviation) * deviations
    curve = fit(
        Answers(
            np.concatenate([answers.scores, any_image]),
            np.concatenate([answers.accepted, np.zeros(ENOUGH_OF_EACH, np.bool_)]),
        )
    )
    if curve is None or curve.slope <= 0:
        return limits
    suggest = max(curve.score_at(WORTH_ASKING), floor_of(background, None))
    if suggest >= limits.suggest:
        return limits
    border = max(suggest, min(curve.middle, limits.border))
    return Limits(suggest, limits.apply, border, note=limits.note)


def _background_limits(background: Ground, scores: Scores, note: str) -> Limits:
    found = bands.limits_of(background, scores)
    if found == bands.UNKNOWN:
        return Limits(inf, inf, inf, note=TOO_FEW)
    # Nobody looks at what is applied: no image may be there by chance alone.
    sure = NormalDist().inv_cdf(1 - FALSE_ALARM / background.population)
    apply = background.mean + sure * background.deviation
    if found == bands.NOTHING:
        # Nothing stands out yet. A new image that does is the first.
        suggest = background.mean + bands.chance_of(background) * background.deviation
    else:
        same = int(np.count_nonzero(scores >= bands.SAME))
        best = float(scores[same]) if same < len(scores) else bands.SAME
        share = background.mean + SUGGESTED_SHARE * (best - background.mean)
        suggest = min(found.maybe, max(share, floor_of(background, None)))
        apply = max(found.likely, apply)
    if background.between is not None:
        suggest, apply = background.between, max(background.between, apply)
        return Limits(suggest, inf if note else apply, border=suggest, note=note)
    # Where no image is likely, the doubtful ones are those that are barely suggested.
    border = apply if apply < bands.SAME else suggest
    return Limits(suggest, inf if note else apply, border, note=note)


def _newton(steps: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights, (2,), of the logistic curve nearest to the targets."""
    weights = np.zeros(2)
    loss = _loss(steps @ weights, targets)
    for _ in range(100):
        probability = 1 / (1 + np.exp(-(steps @ weights)))
        gradient = steps.T @ (probability - targets)
        if np.abs(gradient).max() < 1e-8:
            break
        curvature = (steps * (probability * (1 - probability))[:, None]).T @ steps
        direction = np.linalg.solve(curvature + 1e-10 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-10 and _loss(steps @ (weights - size * direction), targets) > loss:
            size /= 2
        weights = weights - size * direction
        loss = _loss(steps @ weights, targets)
    return weights


def _loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float(np.sum(np.logaddexp(0, logits) - targets * logits))
