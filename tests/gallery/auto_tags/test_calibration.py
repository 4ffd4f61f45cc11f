from __future__ import annotations

import math

import numpy as np
import pytest

from gallery.auto_tags import calibration
from gallery.auto_tags.calibration import Answers, Platt

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(0.1, 0.03, 2000).astype(np.float32)
(BACKGROUND,) = calibration.grounds_of(NOISE[:, None], 2000)


def answers(yes=(), no=()):
    scores = np.array([*yes, *no], dtype=np.float32)
    return Answers(scores, np.array([True] * len(yes) + [False] * len(no), dtype=np.bool_))


def ranked(*more):
    scores = np.concatenate([NOISE, *more]).astype(np.float32)
    return -np.sort(-scores)


def limits(scores, said=None, **given):
    said = said or answers()
    given = {"wanted_precision": 0.9, "fitted": calibration.fit(said)} | given
    return calibration.limits_of(BACKGROUND, scores, said, **given)


@pytest.mark.parametrize(
    ("yes", "no", "low", "high"),
    # As R's binom.confint(method = "wilson") has them.
    [(9, 1, 0.596, 0.982), (0, 5, 0.0, 0.434), (50, 50, 0.404, 0.596), (5, 0, 0.566, 1.0)],
)
def test_precision_has_the_interval_of_wilson(yes, no, low, high):
    found = calibration.precision_of(yes, no)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    assert found.low <= found.value == yes / (yes + no) <= found.high


def test_without_answers_there_is_no_precision():
    assert calibration.precision_of(0, 0) is None


def test_what_stands_out_of_the_background_is_suggested_and_the_rest_is_not():
    found = limits(ranked([0.5, 0.49, 0.48, 0.4]))
    assert 0.2 < found.suggest < 0.4 < found.apply < 0.5
    assert not found.is_fitted


def test_where_nearly_all_was_accepted_more_is_suggested_and_nothing_more_applied():
    scores = ranked(np.linspace(0.2, 0.5, 60))
    before = limits(scores)
    after = limits(scores, answers(yes=np.linspace(0.3, 0.5, 30), no=[0.15]))
    assert NOISE.mean() + 2 * NOISE.std() < after.suggest < before.suggest
    assert after.suggest <= after.border < before.border
    assert (after.apply, after.is_fitted) == (before.apply, False)


@pytest.mark.parametrize(("share", "distance"), [(0.05, 6), (0.15, 4), (0.3, 5), (0.45, 9)])
def test_what_many_images_show_is_a_heap_of_its_own_and_suggested(share, distance):
    n = round(share * len(NOISE))
    shown = RANDOM.normal(0.1 + 0.03 * distance, 0.03, n)
    scores = np.concatenate([NOISE[n:], shown]).astype(np.float32)
    (ground,) = calibration.grounds_of(scores[:, None], len(scores))
    found = calibration.limits_of(ground, -np.sort(-scores), answers(), wanted_precision=0.9)
    assert np.mean(shown >= found.suggest) > 0.9
    assert np.mean(NOISE[n:] >= found.suggest) < 0.05
    assert found.suggest == found.border <= found.apply
    assert calibration.floor_of(ground, None) <= found.suggest


@pytest.mark.parametrize(
    "scores",
    [
        NOISE,
        RANDOM.gamma(4, 0.01, 2000),  # crooked
        RANDOM.standard_t(5, 2000),  # with long tails
        RANDOM.uniform(0.1, 0.2, 2000),
        np.concatenate([NOISE, RANDOM.normal(0.3, 0.01, 19)]),  # so few may be chance
        np.full(2000, 0.2),
        NOISE[:30],
    ],
)
def test_one_heap_of_scores_is_not_taken_for_two(scores):
    (ground,) = calibration.grounds_of(scores.astype(np.float32)[:, None], len(scores))
    assert ground.between is None


def test_where_nothing_stands_out_only_a_new_image_that_does_is_suggested():
    found = limits(ranked())
    assert NOISE.max() < found.suggest < found.apply < 0.3


def test_too_few_images_say_nothing_and_that_is_told():
    (few,) = calibration.grounds_of(NOISE[:20, None], 20)
    found = calibration.limits_of(few, ranked([0.9]), answers(), wanted_precision=0.9)
    assert (found.suggest, found.apply) == (math.inf, math.inf)
    assert found.note == calibration.TOO_FEW


@pytest.mark.parametrize(("yes", "no"), [(9, 50), (50, 9), (0, 0)])
def test_a_few_answers_move_no_limits(yes, no):
    assert calibration.fit(answers([0.4] * yes, [0.2] * no)) is None


def test_the_curve_of_the_answers_is_the_one_they_were_drawn_from():
    truth = Platt(slope=40.0, middle=0.3)
    scores = RANDOM.uniform(0.1, 0.5, 20_000).astype(np.float32)
    accepted = RANDOM.uniform(size=len(scores)) < truth.probability(scores)
    found = calibration.fit(Answers(scores, accepted))
    assert found.slope == pytest.approx(truth.slope, rel=0.05)
    assert found.middle == pytest.approx(truth.middle, abs=0.005)


def test_answers_cleanly_apart_give_a_curve_that_is_finite():
    found = calibration.fit(answers([0.4, 0.41] * 10, [0.2, 0.21] * 10))
    assert 0.21 < found.middle < 0.4
    assert 0.9 < found.probability(np.array([0.41]))[0] < 1
    assert found.score_at(0.5) == found.middle


def test_with_answers_what_is_applied_has_the_wanted_precision():
    truth = Platt(slope=40.0, middle=0.3)
    pool = RANDOM.uniform(0.1, 0.5, 20_000).astype(np.float32)
    is_true = RANDOM.uniform(size=len(pool)) < truth.probability(pool)
    said = Answers(pool[:400], is_true[:400])
    # With 0.7 the last ones would be less likely right than wrong: they are left out.
    for wanted, reached in ((0.7, 0.9), (0.9, 0.9), (0.97, 0.97)):
        found = limits(-np.sort(-pool), said, wanted_precision=wanted)
        assert found.is_fitted
        assert is_true[pool >= found.apply].mean() == pytest.approx(reached, abs=0.04)
        assert found.suggest < found.border <= found.apply


def test_answers_that_do_not_follow_the_scores_let_nothing_be_applied():
    upside_down = answers([0.2, 0.22] * 10, [0.4, 0.42] * 10)
    found = limits(ranked([0.5, 0.49]), upside_down)
    assert (found.apply, found.note) == (math.inf, calibration.NO_GUIDE)
    assert found.suggest < 0.5


def test_answers_to_images_that_all_score_the_same_make_no_curve():
    assert calibration.fit(answers([0.3] * 20, [0.3] * 20)) is None


def test_what_was_mostly_rejected_is_applied_no_more():
    said = answers(yes=[0.5] * 2, no=[0.49] * 12)
    found = limits(ranked([0.5, 0.49, 0.48]), said)
    assert (found.apply, found.note) == (math.inf, calibration.DISPROVED)


def test_no_more_is_suggested_than_people_can_answer():
    many = ranked(np.linspace(0.4, 0.5, 3000))
    found = calibration.at_most_open(limits(many), many[many >= 0.3])
    assert np.count_nonzero(many >= found.suggest) == calibration.MOST_OPEN
