from __future__ import annotations

from random import Random

import numpy as np
import pytest

import scenes
from embeddings.encoders import opening, sources
from gallery.search.bands import (
    BANDS,
    LEAST_POPULATION,
    LIKELY,
    NOTHING,
    UNKNOWN,
    UNLIKELY,
    background_of,
    limits_of,
)
from scenes import Mention, Statement, Thing

NARROW = 0.05  # scores are cosines
RANDOM = np.random.default_rng(0)
NOBODY_DREW = ("a zeppelin", "a plate of spaghetti", "a laptop computer", "a violin", "a giraffe")


def bands_of(scores, population=None):
    background = background_of(scores, population or len(scores))
    return limits_of(background, np.sort(scores)[::-1]).bands_of(scores)


def test_scores_that_stand_out_are_likely_whatever_the_scale():
    scores = np.concatenate([RANDOM.normal(size=400), [9.0, 8.5, 8.8]]).astype(np.float32)
    for scale, shift in ((0.1, 0.0), (0.03, 0.2), (0.05, -0.5)):
        bands = bands_of(scores * scale + shift)
        assert bands[400:].tolist() == [LIKELY] * 3
        assert (bands[:400] == UNLIKELY).all()


def test_hits_among_the_sample_do_not_hide_themselves():
    scores = np.concatenate([RANDOM.normal(size=300), RANDOM.normal(10, 0.3, size=100)])
    bands = bands_of(NARROW * scores.astype(np.float32))
    assert (bands[300:] < UNLIKELY).all()
    assert (bands[:300] == UNLIKELY).all()


def test_of_more_images_chance_alone_lets_one_stand_out_further():
    scores = np.concatenate([RANDOM.uniform(-1.5, 1.5, size=1000), [3.2]]).astype(np.float32)
    scores *= NARROW / background_of(scores, 1).deviation
    best = np.array([3.2 * NARROW], dtype=np.float32)
    few, many = (limits_of(background_of(scores, n), best) for n in (100, 1_000_000))
    assert few.maybe < best[0]
    assert many == NOTHING


def test_of_a_few_images_nothing_can_be_said():
    scores = RANDOM.normal(size=LEAST_POPULATION - 1).astype(np.float32)
    assert limits_of(background_of(scores, len(scores)), scores) == UNKNOWN
    assert {BANDS[band] for band in bands_of(scores)} == {"maybe"}


@pytest.mark.parametrize("scores", [np.empty(0, np.float32), np.full(200, 0.5, np.float32)])
def test_a_sample_without_spread_says_nothing(scores):
    assert limits_of(background_of(scores, 200), scores) == UNKNOWN


def test_the_same_image_again_does_not_hide_those_that_are_alike():
    others = NARROW * RANDOM.normal(size=400)
    scores = np.concatenate([others, [0.4, 0.41, 0.42], [1.0, 0.99]]).astype(np.float32)
    bands = bands_of(scores)
    assert bands[400:].tolist() == [LIKELY] * 5
    assert (bands[:400] == UNLIKELY).all()


def test_the_same_image_is_likely_though_nothing_else_is_alike():
    scores = np.append(NARROW * RANDOM.uniform(-1.5, 1.5, size=400), [0.98]).astype(np.float32)
    bands = bands_of(scores)
    assert bands[400] == LIKELY
    assert (bands[:400] == UNLIKELY).all()


@pytest.fixture(scope="module")
def drawn():
    """Vectors of 250 scenes of the demo gallery, and the encoder."""
    encoder = opening.open_source(sources.find("bundled"))
    some = list(scenes.demo(250))
    pictures = [scenes.draw(scene, (256, 192)) for scene in some]
    return some, encoder.encode_images(pictures), encoder


@pytest.mark.slow
def test_on_the_demo_gallery_most_of_what_is_shown_is_relevant(drawn):
    some, vectors, encoder = drawn
    precisions, recalls = [], []
    for thing in Thing:
        statement = Statement((Mention(thing),))
        relevant = np.array([statement.is_true_of(scene) for scene in some])
        scores = vectors @ encoder.encode_texts([statement.say(Random(0))])[0]
        shown = bands_of(scores) < UNLIKELY
        recalls.append((shown & relevant).sum() / max(1, relevant.sum()))
        if shown.any():
            precisions.append((shown & relevant).sum() / shown.sum())
    assert np.mean(precisions) > 0.6
    assert np.mean(recalls) > 0.6


@pytest.mark.slow
def test_what_nobody_drew_is_not_likely(drawn):
    _, vectors, encoder = drawn
    likely = [
        (bands_of(vectors @ vector) == LIKELY).sum()
        for vector in encoder.encode_texts(list(NOBODY_DREW))
    ]
    assert sum(likely) == 0
