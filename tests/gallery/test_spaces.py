from __future__ import annotations

import io
import threading

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection

from embeddings import live
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from gallery import pipeline, spaces
from gallery.ingest import NewImage, add_image
from gallery.models import (
    CaptionEmbedding,
    Image,
    ImageEmbeddingJob,
    State,
)
from gallery.query import Query, TextTerm
from gallery.search import search
from gallery.switching import steps
from gallery.worker import ALIVE
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
    images = [add(seed, caption="A scene") for seed in range(3)]
    pipeline.embed_waiting()
    folder = make_encoder("clip", tmp_path / "other")
    cache.set(ALIVE, 1.0)  # the thread below is one, and gives no sign of life
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
    assert (old.state, spaces.active().name) == (Space.State.FILLING, str(folder))
    assert set(Image.objects.values_list("state", flat=True)) == {State.READY}
    assert not ImageEmbeddingJob.objects.exists()
    assert CaptionEmbedding.objects.filter(space=spaces.active()).count() == len(images)
    page = search(Query(terms=(TextTerm("a boat"),)), make_user())
    assert (len(page.hits), page.encoder) == (len(images), "other")


def test_switching_to_no_encoder_changes_nothing():
    space = spaces.ensure()
    with pytest.raises(CommandError, match="no encoder folder"):
        call_command("switch_encoder", "/not/there")
    assert spaces.active() == space


def test_a_retired_space_is_filled_again_and_not_made_twice(tmp_path):
    old = spaces.ensure()
    spaces.switch_to(steps.fill(str(make_encoder("clip", tmp_path / "other"))))
    steps.retire(old)
    assert steps.fill("bundled").pk == old.pk
    assert Space.objects.count() == 2
