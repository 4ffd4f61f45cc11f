from __future__ import annotations

import io
import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection

from embeddings import live
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from gallery import pipeline, spaces, tasks
from gallery.ingest import NewImage, add_image
from gallery.models import (
    CaptionEmbedding,
    CaptionEmbeddingJob,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    State,
)
from gallery.query import Query, TextTerm
from gallery.search import search
from gallery.subjects import CAPTIONS, IMAGES
from scenes import compose, draw
from tests.encoders import make_encoder
from tests.rows import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_index():
    live.forget_all()


def add(seed, **given):
    file = io.BytesIO()
    draw(compose(seed), size=(96, 96)).save(file, "PNG")
    return add_image(NewImage(file=file, owner=make_user(), **given))[0]


def test_a_gallery_keeps_its_encoder_whatever_the_setting_says_later(settings):
    space = spaces.ensure()
    settings.ENCODER = "/another/one"
    assert spaces.ensure() == space


def test_an_encoder_that_is_not_there_is_a_sentence(settings):
    settings.ENCODER = "/another/one"
    with pytest.raises(EncoderUnavailable, match="no encoder folder /another/one"):
        spaces.ensure()


def test_the_bundled_encoder_is_said_to_know_drawn_scenes_only():
    assert spaces.notice() == ""
    spaces.ensure()
    assert "drawn scenes only" in spaces.notice()


def test_without_a_hub_a_new_gallery_takes_the_bundled_encoder(settings):
    settings.ENCODER = ""
    assert spaces.ensure().name == "bundled"


@pytest.mark.slow
def test_switching_the_encoder_embeds_all_images_anew(tmp_path):
    old = spaces.ensure()
    images = [add(seed) for seed in range(3)]
    pipeline.embed_waiting()
    folder = make_encoder("clip", tmp_path / "other")
    done = threading.Event()

    def work():
        while not done.wait(0.1):
            pipeline.embed_waiting()
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        call_command("switch_encoder", str(folder))
    finally:
        done.set()
        worker.join()
    old.refresh_from_db()
    assert (old.state, spaces.active().name) == (Space.State.RETIRED, str(folder))
    assert set(Image.objects.values_list("state", flat=True)) == {State.READY}
    assert not ImageEmbeddingJob.objects.exists()
    page = search(Query(terms=(TextTerm("a boat"),)), make_user())
    assert (len(page.hits), page.encoder) == (len(images), "other")


def test_after_a_switch_captions_get_vectors_of_the_new_encoder(tmp_path):
    old = spaces.ensure()
    images = [add(seed, caption="A red boat", captions=(("coco", "a boat"),)) for seed in range(3)]
    pipeline.embed_waiting()
    new = spaces.begin_filling(str(make_encoder("clip", tmp_path / "other")))
    IMAGES.queue.add([image.pk for image in images], new)
    while ImageEmbedding.objects.filter(space=new).count() < len(images):
        pipeline.embed_waiting()
    CAPTIONS.queue.add([images[0].captions.further().get().pk], old)  # of no use any more
    spaces.switch_to(new)
    assert set(Image.objects.values_list("state", flat=True)) == {State.READY}
    assert not CaptionEmbeddingJob.objects.exists()
    tasks.reconcile()
    assert pipeline.embed_waiting() == 6
    assert CaptionEmbedding.objects.filter(space=new).count() == 6


def test_a_switch_waits_for_no_captions_and_keeps_their_jobs(tmp_path):
    spaces.ensure()
    add(1, caption="A red boat")
    new = spaces.begin_filling(str(make_encoder("clip", tmp_path / "other")))
    pipeline.add_missing()
    spaces.switch_to(new)
    assert list(CaptionEmbeddingJob.objects.values_list("space", flat=True)) == [new.pk]


def test_switching_to_no_encoder_changes_nothing():
    space = spaces.ensure()
    with pytest.raises(CommandError, match="no encoder folder"):
        call_command("switch_encoder", "/not/there")
    assert spaces.active() == space


def test_two_switches_at_once_take_turns(tmp_path):
    spaces.ensure()
    others = [
        spaces.begin_filling(str(make_encoder(kind, tmp_path / kind)))
        for kind in ("clip", "siglip")
    ]
    errors = []

    def switch(space):
        try:
            spaces.switch_to(space)
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=switch, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert spaces.active() in others


def test_a_retired_space_is_filled_again_and_not_made_twice(tmp_path):
    old = spaces.ensure()
    spaces.switch_to(spaces.begin_filling(str(make_encoder("clip", tmp_path))))
    assert spaces.begin_filling("bundled").pk == old.pk
    assert Space.objects.count() == 2
