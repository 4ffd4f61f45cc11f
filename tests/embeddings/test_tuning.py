from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np
import pytest
from django.db import connections

from embeddings import proofs, tuning
from embeddings.encoders import comparing, opening, registry, sources
from embeddings.encoders.precisions import BFLOAT16, IMAGE, INT8, INT8_BLOCKS, TEXT, Precisions
from embeddings.errors import NotTuned, VectorInvalid
from embeddings.models import EncoderProof, QuerySample, Space
from embeddings.tuning import Sample
from embeddings.vectors import normalise
from scenes import compose, describe, draw
from tests.rows import make_vectors
from tests.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SCENES = 72


@pytest.fixture
def space():
    source = sources.find(sources.BUNDLED)
    return Space.objects.create(name=source.name, revision=source.revision, dimensions=256)


@pytest.fixture(scope="module")
def sample():
    scenes = [compose(seed) for seed in range(SCENES)]
    framing = opening.open_source(sources.find(sources.BUNDLED)).framing
    return Sample(
        frames=[framing.frames(draw(scene, size=(96, 96))) for scene in scenes],
        texts=[describe(scene) for scene in scenes],
        captions=[(place, place) for place in range(SCENES)],
        size=SCENES,
    )


def test_a_space_that_is_retired_meanwhile_is_tuned_no_further(space, sample):
    rows = tuning.tune(space, sample, towers=[TEXT])
    assert next(rows).made_at
    Space.objects.update(state=Space.State.RETIRED)
    with pytest.raises(NotTuned, match="was retired meanwhile"):
        next(rows)


def test_every_precision_has_its_row(space, sample):
    QuerySample.objects.create(space=space, vector=make_vectors(1, dimensions=256)[0].tolist())
    rows = {(row.tower, row.precision): row for row in tuning.tune(space, sample)}
    assert rows.keys() == {
        (TEXT, INT8), (TEXT, INT8_BLOCKS), (IMAGE, BFLOAT16), (IMAGE, INT8),
    }  # fmt: skip
    for (tower, _), row in rows.items():
        row.refresh_from_db()
        assert not row.failure
        assert 0.9 < row.cosine_min <= row.cosine_mean < 1.00001
        assert 0.5 < row.overlap <= 1
        assert abs(row.recall - row.recall_float32) < 0.2
        assert row.milliseconds > 0 < row.milliseconds_float32
        assert (row.attempts, row.made_at is None, row.vectors) == (0, False, SCENES)
        assert (row.texts, row.images) == ((72, 72) if tower == TEXT else (73, 36))
    assert rows[IMAGE, INT8].calibration
    again = list(tuning.tune(space, sample, towers=[TEXT]))
    assert [row.pk for row in again] == [rows[TEXT, INT8].pk, rows[TEXT, INT8_BLOCKS].pk]
    assert tuning.due(space, vectors=SCENES) == []


@pytest.mark.parametrize(
    ("given", "tower", "sentence"),
    [
        ({"frames": []}, IMAGE, "0 images are too few"),
        ({"texts": ["a boat"] * 3}, TEXT, "1 texts are too few"),
        ({"frames": []}, TEXT, "nothing to search by the texts"),
    ],
)
def test_too_small_a_sample_is_refused_with_a_sentence(space, sample, given, tower, sentence):
    small = Sample(**{"frames": sample.frames, "texts": sample.texts} | given)
    with pytest.raises(NotTuned, match=sentence):
        next(tuning.tune(space, small, towers=[tower]))
    assert not EncoderProof.objects.exists()


def test_one_process_at_a_time(space, sample):
    key = [tuning._LOCK, space.pk]
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", key)
    with pytest.raises(NotTuned, match="Another process"):
        next(tuning.tune(space, sample))
    other.close()  # it has died, and Postgres hears of it in a moment

    def is_free():
        with suppress(NotTuned):
            return next(tuning.tune(space, sample, towers=[TEXT]))

    wait_until(is_free)


def test_a_space_that_is_removed_meanwhile_is_a_sentence(space, sample, monkeypatch):
    spaces = Space.objects.filter(pk=space.pk)
    between_two = tuning.tune(space, sample, towers=[TEXT])
    next(between_two)
    spaces.delete()
    with pytest.raises(NotTuned, match="was retired meanwhile"):  # as it is before it is removed
        next(between_two)
    space.save(force_insert=True)
    encode = comparing.encode_texts

    def remove_and_encode(*given):
        spaces.delete()
        connections.close_all()  # those of the thread that compares
        return encode(*given)

    monkeypatch.setattr(comparing, "encode_texts", remove_and_encode)
    with pytest.raises(NotTuned, match="was removed meanwhile"):
        next(tuning.tune(space, sample, towers=[TEXT]))


def test_a_precision_that_gives_no_numbers_has_failed_and_others_are_measured(
    space, sample, monkeypatch
):
    def give(float32, other, texts):
        if other.precisions.text == INT8:
            raise VectorInvalid("A vector holds NaN or infinity.")
        return encode(float32, other, texts)

    encode = comparing.encode_texts
    monkeypatch.setattr(comparing, "encode_texts", give)
    rows = {row.precision: row for row in tuning.tune(space, sample, towers=[TEXT])}
    assert rows[INT8].failure == "A vector holds NaN or infinity."
    assert not rows[INT8_BLOCKS].failure


def test_what_dies_in_the_middle_has_begun(space, sample, monkeypatch):
    def die(*_given):
        raise SystemExit

    monkeypatch.setattr(tuning.comparing, "encode_texts", die)
    with pytest.raises(SystemExit):
        list(tuning.tune(space, sample, towers=[TEXT]))
    row = EncoderProof.objects.get()
    assert (row.attempts, row.made_at) == (1, None)
    assert proofs.choose(space.name, space.revision) == Precisions()


def test_a_process_that_serves_takes_up_a_new_proof(space, sample, monkeypatch):
    monkeypatch.setattr(registry, "LOOK_SECONDS", 0.0)
    registry.keep_only(())
    encoder = registry.load(space)
    exact = encoder.encode_texts(["two red boats"])
    stopped, wrong = threading.Event(), []

    def search():
        while not stopped.is_set():
            vector = registry.load(space).encode_texts(["two red boats"])
            if (vector * exact).sum() < 0.99:
                wrong.append(vector)

    searching = threading.Thread(target=search)
    searching.start()
    try:
        assert len(list(tuning.tune(space, sample, towers=[TEXT]))) == 2
        rows = EncoderProof.objects.filter(precision=INT8)
        rows.update(cosine_mean=1, overlap=1, milliseconds=0)
        wait_for(encoder, Precisions(text=INT8))
        EncoderProof.objects.update(overlap=0.5)  # of all
        wait_for(encoder, Precisions())
    finally:
        stopped.set()
        searching.join()
        registry.keep_only(())
    assert not wrong
    np.testing.assert_array_equal(encoder.encode_texts(["two red boats"]), exact)


def wait_for(encoder, wanted):
    def has_it():
        registry.refresh()
        return encoder.precisions == wanted

    wait_until(has_it)


# How two ways are compared


def test_neighbours_alike_are_neighbours_whichever_is_found():
    random = np.random.default_rng(0)
    some = normalise(random.normal(size=(30, 8)))
    twice = np.concatenate([some, some])
    turned = np.concatenate([some, some * np.float32(1.0000001)])
    assert comparing.overlap((some, some), (twice, turned)) == 1.0
    assert comparing.overlap((some, some), (some, some), itself=True) == 1.0
    others = normalise(random.normal(size=(30, 8)))
    assert comparing.overlap((some, others), (some, some)) < 0.6


def test_recall_is_of_the_images_that_captions_are_of():
    vectors = make_vectors(50)
    captions = [(place, place) for place in range(20)]
    assert comparing.recall(vectors[:20], vectors, captions) == 1.0
    assert comparing.recall(vectors[20:40], vectors, captions) < 0.8
    assert comparing.recall(vectors, vectors, []) is None
