from __future__ import annotations

import io
import json

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from embeddings import live
from embeddings.encoders import registry
from embeddings.encoders.precisions import IMAGE, INT8, TEXT
from embeddings.models import EncoderProof
from gallery import pipeline, spaces
from gallery.ingest import NewImage, add_image
from gallery.models import Caption, Image, ImageEmbedding, SavedSearch, Tag
from gallery.tuning import drawing, tasks, upkeep
from scenes import compose, describe, draw
from tests.rows import make_images, make_user, make_vectors, store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

IMAGES = 66


@pytest.fixture
def space():
    live.forget_all()
    registry.keep_only(())
    yield spaces.ensure()
    registry.keep_only(())


@pytest.fixture
def gallery(space):
    """Images with vectors, the half of them with captions."""
    for seed in range(IMAGES):
        file = io.BytesIO()
        scene = compose(seed)
        draw(scene, size=(96, 96)).save(file, "PNG")
        caption = describe(scene) if seed % 2 else ""
        add_image(NewImage(file=file, owner=make_user(), caption=caption))
    pipeline.embed_waiting()
    return space


@pytest.fixture
def made(space):
    """Images whose files are gone, with made vectors and captions."""
    ids = make_images(60, file="gone.png")
    store(ids, make_vectors(60, dimensions=space.dimensions), space)
    for number, id_ in enumerate(ids.tolist()):
        Caption.objects.create(image_id=id_, text=f"text {number % 40}", source="test")
    return ids


def called(*arguments):
    out = io.StringIO()
    call_command("tune_encoder", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_compares_all_and_shows_it(gallery):
    shown = called()
    assert EncoderProof.objects.filter(failure="", made_at__isnull=False).count() == 4
    for word in ("text", "image", "bfloat16", "int8", ": passed.", "Texts are encoded in"):
        assert word in shown
    row, _ = [json.loads(line) for line in called("--tower", "text", "--json").splitlines()]
    assert (row["tower"], row["precision"], row["space"]) == (TEXT, INT8, gallery.pk)
    assert row["recall_float32"] is not None
    assert row["texts"] == IMAGES // 2


def test_the_admin_shows_it(space, client):
    proof = EncoderProof.objects.create(
        space=space, tower=IMAGE, precision=INT8, processor="another", versions="1",
        cosine_mean=0.98, cosine_min=0.9, overlap=0.9, milliseconds=9.04, milliseconds_float32=57.8,
        begun_at=timezone.now(), made_at=timezone.now(),
    )  # fmt: skip
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    table = client.get("/admin/embeddings/encoderproof/").content.decode()
    assert "image in int8" in table
    assert "6.4" in table
    page = client.get(f"/admin/embeddings/encoderproof/{proof.pk}/change/").content.decode()
    assert "its cosine is below 0.999" in page
    assert "9.04, in float32 57.80" in page


def test_a_gallery_without_words_is_told_so(space):
    store(make_images(40), make_vectors(40, dimensions=space.dimensions), space)
    with pytest.raises(CommandError, match=r"text tower was not compared.*0 texts"):
        called("--tower", "text")


def test_a_gallery_without_images_is_told_so(space):
    with pytest.raises(CommandError, match="0 images are too few"):
        called("--tower", "image")


def test_a_space_that_is_not_there_is_told(space):
    with pytest.raises(CommandError, match="No space 123"):
        called("--space", "123")


def test_the_sample_is_of_what_has_a_vector(space, made):
    make_images(5)  # without
    sample = drawing.draw(space, towers=[TEXT], seed=1)
    assert (sample.size, len(sample.vectors), len(sample.frames)) == (60, 60, 0)
    assert len(sample.texts) == len(set(sample.texts)) == 40
    assert len(sample.captions) == 60
    stored_vectors = dict(ImageEmbedding.objects.values_list("image", "vector"))
    for text, image in sample.captions:
        captioned = Caption.objects.filter(text=sample.texts[text]).values_list("image", flat=True)
        vectors = np.array([stored_vectors[id_] for id_ in captioned], np.float32)
        assert np.abs(vectors - sample.vectors[image]).sum(axis=1).min() < 1e-3


def test_tags_and_saved_searches_help_out(space):
    store(make_images(40), make_vectors(40, dimensions=space.dimensions), space)
    Tag.objects.bulk_create(Tag(name=f"tag {number}") for number in range(3))
    query = {"version": 1, "terms": [{"text": "a red boat"}]}
    SavedSearch.objects.create(owner=make_user(), name="boats", query=query)
    SavedSearch.objects.create(owner=make_user(), name="nonsense", query=[3])
    sample = drawing.draw(space, towers=[TEXT])
    assert sorted(sample.texts) == ["a red boat", "tag 0", "tag 1", "tag 2"]


def test_an_image_that_cannot_be_read_is_left_out(gallery):
    for image in Image.objects.order_by("pk")[:6]:
        image.file.storage.delete(image.file.name)
    sample = drawing.draw(gallery, towers=[IMAGE])
    assert (len(sample.frames), len(sample.vectors)) == (IMAGES - 6, IMAGES)


# Without being asked


@pytest.fixture
def sent(monkeypatch):
    messages = []
    monkeypatch.setattr(tasks.tune_due, "delay", lambda: messages.append(1))
    return messages


def test_it_is_done_once_there_are_enough(space, made, monkeypatch, sent):
    tasks.tune_due()
    assert not EncoderProof.objects.exists()
    monkeypatch.setattr(upkeep, "LEAST_VECTORS", 50)
    assert tasks.tune_due()
    assert set(EncoderProof.objects.values_list("tower", flat=True)) == {TEXT}
    assert sent == [1]  # the other tower has a turn of its own
    # Their files are gone: the image tower is refused, and not looked at again at once.
    assert not tasks.tune_due()
    monkeypatch.setattr(drawing, "draw", None)
    assert not tasks.tune_due()
    assert sent == [1]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_who_names_a_precision_is_left_alone(space, made, settings, monkeypatch, sent, name):
    monkeypatch.setattr(upkeep, "LEAST_VECTORS", 50)
    settings.ENCODER_PRECISION = name
    assert not tasks.tune_due()
