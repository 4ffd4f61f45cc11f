"""Relevance bands: how far a score stands out of what the query scores on just any image.

A flat cut-off cannot work: scores move with the query and with the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery.query import Band

if TYPE_CHECKING:
    from embeddings.vectors import Scores

BANDS = (Band.LIKELY, Band.MAYBE, Band.UNLIKELY)  # by their number in arrays
LIKELY, MAYBE, UNLIKELY = range(3)

Bands = NDArray[np.uint8]  # (n,), 0 likely, 1 maybe, 2 unlikely

LEAST_POPULATION = 50  # fewer say nothing of a distribution
LEAST_DEVIATION = 1e-4  # of scores: below it lies only rounding


# Calibrated on drawn scenes and on photos: docs/decisions/0007-relevance-bands.md.
LIKELY_SHARE = 0.85  # of the way from just any image to the best one
MAYBE_SHARE = 0.72
LEAST_DEVIATIONS = 2.0  # however poor the best one is
SURE_DEVIATIONS = 0.5  # by how much the best one must stand out more before any is likely
LARGEST_CHANCE = 10_000  # images: more do not make an outstanding score less outstanding
SAME = 0.95  # from there on it is the same image or text again, and no measure of likeness


@dataclass(frozen=True)
class Background:
    """How a query scores on just any image."""

    mean: float  # the median, which the hits among the sample do not move
    deviation: float  # by the median too
    population: int  # vectors in the space


@dataclass(frozen=True)
class Limits:
    """The least scores of the bands likely and maybe."""

    likely: float
    maybe: float

    def bands_of(self, scores: Scores) -> Bands:
        """Return the band of each score, (n,)."""
        return np.where(
            scores >= self.likely, LIKELY, np.where(scores >= self.maybe, MAYBE, UNLIKELY)
        ).astype(np.uint8)


# So few images, or so alike, that nothing can be said: all are shown, none is promised.
UNKNOWN = Limits(likely=inf, maybe=-inf)
NOTHING = Limits(likely=SAME, maybe=SAME)


def background_of(scores: Scores, population: int) -> Background:
    """Return the background of a query from its scores, (n,), on a sample of the space."""
    if not len(scores):
        return Background(0.0, 0.0, population)
    median = float(np.median(scores))
    return Background(median, 1.4826 * float(np.median(np.abs(scores - median))), population)


def chance_of(background: Background) -> float:
    """Return by how many deviations chance alone lets the best one stand out."""
    return NormalDist().inv_cdf(1 - 1 / min(background.population, LARGEST_CHANCE))


def limits_of(background: Background, scores: Scores) -> Limits:
    """Return the limits of a query by its background and its hits' scores, (n,), best first.

    Whether anything is relevant is told by the best score: it must stand out more than chance
    alone lets one of so many do. How much is relevant is told by how far the others are from it.
    """
    if background.population < LEAST_POPULATION or background.deviation < LEAST_DEVIATION:
        return UNKNOWN
    if not len(scores):
        return NOTHING
    same = int(np.count_nonzero(scores >= SAME))
    best = float(scores[same]) if same < len(scores) else SAME
    outstanding = (best - background.mean) / background.deviation
    chance = chance_of(background)
    if outstanding < chance:
        return NOTHING
    maybe = max(LEAST_DEVIATIONS, MAYBE_SHARE * outstanding)
    likely = max(LEAST_DEVIATIONS, LIKELY_SHARE * outstanding)
    if outstanding < chance + SURE_DEVIATIONS:
        likely = inf
    return Limits(
        likely=min(SAME, background.mean + likely * background.deviation),
        maybe=min(SAME, background.mean + maybe * background.deviation),
    )
