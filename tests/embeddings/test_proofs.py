from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from embeddings import proofs, tuning
from embeddings.encoders import processors, variants
from embeddings.encoders.precisions import (
    BFLOAT16,
    FLOAT32,
    IMAGE,
    INT8,
    TEXT,
    TOWERS,
    Precisions,
    faster,
)
from embeddings.models import EncoderProof
from tests.rows import make_space

pytestmark = pytest.mark.django_db

RANGES = {"data": [0, 1]}


@pytest.fixture
def space():
    return make_space()


def prove(space, tower=TEXT, precision=INT8, **fields):
    given = {
        "processor": processors.describe(), "versions": variants.versions(), "vectors": 300,
        "cosine_mean": 0.9995, "cosine_min": 0.998, "overlap": 0.98, "milliseconds": 3.0,
        "milliseconds_float32": 17.0, "begun_at": timezone.now(), "made_at": timezone.now(),
    } | fields  # fmt: skip
    return EncoderProof.objects.create(space=space, tower=tower, precision=precision, **given)


def chosen(space):
    return proofs.choose(space.name, space.revision)


def test_without_proof_float32_serves(space):
    assert chosen(space) == Precisions()


def test_a_tower_is_judged_apart(space):
    prove(space)
    assert chosen(space) == Precisions(text=INT8)


def test_the_fastest_that_passed_serves(space):
    prove(space, IMAGE, BFLOAT16, milliseconds=13.6)
    proof = prove(space, IMAGE, INT8, milliseconds=9.0, calibration=RANGES, calibration_id="abc")
    found = chosen(space)
    assert (found.text, found.image, found.calibration.ranges) == (FLOAT32, INT8, RANGES)
    EncoderProof.objects.filter(pk=proof.pk).update(overlap=0.9)
    assert chosen(space) == Precisions(image=BFLOAT16)


def test_what_else_the_machine_did_while_one_was_measured_does_not_count(space):
    prove(space, IMAGE, BFLOAT16, milliseconds=14.0, milliseconds_float32=58.0)
    busy = {"milliseconds": 20.0, "milliseconds_float32": 130.0}
    prove(space, IMAGE, INT8, calibration=RANGES, calibration_id="abc", **busy)
    assert chosen(space).image == INT8


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"cosine_mean": 0.9989}, "its cosine is below 0.999"),
        ({"overlap": 0.96}, "it finds less than 97.0% of what float32 finds"),
        ({"milliseconds": 16.9}, "it agrees, and is hardly quicker"),
        ({"failure": "It cannot be had."}, "It cannot be had."),
        ({"cosine_mean": None, "overlap": None, "made_at": None}, "not measured yet"),
    ],
)
def test_what_does_not_pass_never_serves(space, fields, why):
    proof = prove(space, **fields)
    assert chosen(space) == Precisions()
    assert proofs.verdict(proof) == why


def test_the_settings_say_what_passes(space, settings):
    proof = prove(space)
    settings.ENCODER_LEAST_COSINE = 0.9999
    assert (chosen(space), proofs.verdict(proof) == "passed") == (Precisions(), False)


@pytest.mark.parametrize("other", ["processor", "versions"])
def test_what_was_proved_elsewhere_does_not_count(space, other):
    proof = prove(space, **{other: "another"})
    assert chosen(space) == Precisions()
    assert not proofs.holds_here(proof)


def test_what_was_proved_of_another_encoder_does_not_count(space):
    prove(make_space(state="filling"))
    assert chosen(space) == Precisions()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("float32", Precisions()), ("bfloat16", Precisions(image=BFLOAT16))],
)
def test_a_named_precision_is_taken_as_said(space, settings, name, wanted):
    prove(space)
    settings.ENCODER_PRECISION = name
    assert chosen(space) == wanted


def test_a_named_precision_without_proof_is_told(space, settings):
    settings.ENCODER_PRECISION = BFLOAT16
    (sentence,) = proofs.unproven(space.name, space.revision)
    assert "bfloat16 of the image tower is not proved" in sentence
    prove(space, IMAGE, BFLOAT16)
    assert proofs.unproven(space.name, space.revision) == []


def test_int8_of_images_waits_for_a_calibration(space, settings):
    settings.ENCODER_PRECISION = INT8
    assert (chosen(space).text, chosen(space).image == INT8) == (INT8, False)
    prove(space, IMAGE, INT8, calibration=RANGES, calibration_id="abc", overlap=0.5)
    assert chosen(space).image == INT8


# What is to be proved


def make_all(space, **fields):
    return [
        prove(space, tower, precision, **fields) for tower in TOWERS for precision in faster(tower)
    ]


def test_it_is_due_until_all_is_measured(space):
    assert tuning.due(space, vectors=300) == [TEXT, IMAGE]
    make_all(space)
    assert tuning.due(space, vectors=300) == []


def test_it_is_due_again_at_ten_times_as_many(space):
    make_all(space)
    assert tuning.due(space, vectors=2999) == []
    assert tuning.due(space, vectors=3000) == [TEXT, IMAGE]


def test_what_died_is_tried_again_after_a_while_and_not_for_ever(space):
    row, *_ = make_all(space)
    rows = EncoderProof.objects.filter(pk=row.pk)
    rows.update(attempts=1, made_at=None)
    assert tuning.due(space, vectors=300) == []  # it may be under way
    rows.update(begun_at=timezone.now() - timedelta(hours=1))
    assert tuning.due(space, vectors=300) == [TEXT]
    rows.update(begun_at=timezone.now() + timedelta(hours=1))  # the clock was set back
    assert tuning.due(space, vectors=300) == [TEXT]
    rows.update(attempts=tuning.MOST_ATTEMPTS, begun_at=timezone.now() - timedelta(hours=1))
    assert tuning.due(space, vectors=300) == []
