"""Do scores fall into two heaps, of images that show something and of those that do not?

What a tenth of all images show, or a third, does not stand out of the median of all: it makes up
the background itself. It is a second heap of scores then, which lies above the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Scores

LEAST_IN_HEAP = 20  # of a sample: fewer may be chance
# The distance of the means, in deviations of both over the root of 2 (D of Ashman, Bird and Zepf
# 1994, who call more than 2 clearly apart): one crooked heap is often described as two nearer ones.
APART = 2.5
# Two of one size are as often something else that a library is made of, unless they are far apart.
MOST_ABOVE = 1 / 3
FAR_APART = 4.0

BINS, ROUNDS = 64, 100
_PLACES = (np.arange(BINS) + 0.5) / BINS  # of the way from the lowest score to the highest
_POWERS = np.stack([np.ones(BINS), _PLACES, _PLACES**2], axis=1)
_LEAST_VARIANCE = 1 / (12 * BINS**2)  # that of one bin
_STEPS = np.linspace(0, 1, 101)  # from one mean to the other

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Heaps:
    """Two normal distributions for each of some texts, (texts, 2): the lower one, the upper one."""

    weights: Floats
    means: Floats
    deviations: Floats

    def log_densities(self, places: Floats) -> Floats:
        """Return those of each heap at places, (n,) or (texts, n): (2, texts, n), but for a sum."""
        means, deviations = self.means.T[..., None], self.deviations.T[..., None]
        heights = np.log(self.weights / self.deviations).T[..., None]
        return np.asarray(heights - 0.5 * ((places - means) / deviations) ** 2, np.float64)

    @property
    def apart(self) -> Floats:
        """By how much they lie apart, (texts,): D."""
        spread = np.sqrt(np.sum(self.deviations**2, axis=1))
        return np.asarray(np.sqrt(2) * (self.means[:, 1] - self.means[:, 0]) / spread, np.float64)

    @property
    def middle(self) -> Floats:
        """The place from which on the upper one is likelier, (texts,): between the two means."""
        places = self.means[:, :1] + np.diff(self.means) * _STEPS
        lower, upper = self.log_densities(places)
        after_last = len(_STEPS) - np.argmax((lower > upper)[:, ::-1], axis=1)
        chosen = np.minimum(after_last, len(_STEPS) - 1)
        return np.asarray(places[np.arange(len(places)), chosen], np.float64)


def between(scores: Scores) -> Floats:
    """Return the limit between two heaps of the scores for each text, (n, texts): (texts,).

    NaN where there are no two.
    """
    n, texts = scores.shape
    if n < 2 * LEAST_IN_HEAP:
        return np.full(texts, np.nan)
    low, high = scores.min(axis=0).astype(np.float64), scores.max(axis=0).astype(np.float64)
    span = np.maximum(high - low, 1e-9)
    bins = np.minimum((scores - low) / span * BINS, BINS - 1).astype(np.int64)
    numbered = bins + BINS * np.arange(texts)
    counts = np.bincount(numbered.ravel(), minlength=BINS * texts).reshape(texts, BINS)
    found = _likeliest(counts.astype(np.float64))
    sizes, above = n * found.weights.min(axis=1), found.weights[:, 1]
    are_two = (sizes >= LEAST_IN_HEAP) & (found.apart >= APART)
    are_two &= (above <= MOST_ABOVE) | (found.apart >= FAR_APART)
    return np.where(are_two, low + span * found.middle, np.nan)


def _likeliest(counts: Floats) -> Heaps:
    """Return the heaps of histograms, (texts, bins): the likeliest of those that cuts lead to."""
    tried = [_fit(counts, cut) for cut in _cuts(counts)]
    likelihoods = [
        np.sum(counts * np.logaddexp(*one.log_densities(_PLACES)), axis=1) for one in tried
    ]
    best, each = np.argmax(likelihoods, axis=0), np.arange(len(counts))
    weights, means, deviations = (
        np.stack([getattr(one, name) for one in tried])[best, each]
        for name in ("weights", "means", "deviations")
    )
    return Heaps(weights, means, deviations)


def _cuts(counts: Floats) -> list[Floats]:
    """Return places to begin from, (texts,) each: what lies above may be much, or little."""
    below, sums = np.cumsum(counts, axis=1), np.cumsum(counts * _PLACES, axis=1)
    n, total = below[:, -1:], sums[:, -1:]
    apart = (sums * n - total * below) ** 2 / np.maximum(below * (n - below), 1e-9)
    otsu = (np.argmax(apart, axis=1) + 1) / BINS  # the least variance within both (Otsu 1979)
    half, most = (np.argmax(below >= share * n, axis=1) / BINS for share in (0.5, 0.84))
    return [otsu, (half + 1) / 2, half + 3 * (most - half)]


def _fit(counts: Floats, cut: Floats) -> Heaps:
    """Return the heaps that a cut leads to, by expectation and maximisation."""
    heaps = _heaps(counts, (cut[:, None] <= _PLACES).astype(np.float64))
    for _ in range(ROUNDS):
        lower, upper = heaps.log_densities(_PLACES)
        heaps = _heaps(counts, 1 / (1 + np.exp(np.clip(lower - upper, -500, 500))))
    return heaps


def _heaps(counts: Floats, shares: Floats) -> Heaps:
    """Return the heaps if so much of each bin, (texts, bins), belongs to the upper one."""
    all_sums, upper_sums = counts @ _POWERS, (counts * shares) @ _POWERS
    sums = np.stack([all_sums - upper_sums, upper_sums], axis=1)
    sizes = np.maximum(sums[..., 0], 1e-9)
    means = sums[..., 1] / sizes
    squares = np.maximum(sums[..., 2] / sizes - means**2, 0)
    weights = sizes / sizes.sum(axis=1, keepdims=True)
    return Heaps(weights, means, np.sqrt(squares + _LEAST_VARIANCE))
