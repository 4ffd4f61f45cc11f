from __future__ import annotations

import io
import time

import pytest
from django.core.cache import cache

from embeddings import live
from embeddings.encoders import registry
from gallery import pipeline, spaces, worker
from gallery.ingest import NewImage, add_image
from gallery.switching import steps
from scenes import compose, draw
from tests.encoders import make_encoder
from tests.rows import make_user


@pytest.fixture(autouse=True)
def no_index():
    live.forget_all()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Another encoder than the bundled one: tiny, of random weights."""
    return make_encoder("clip", tmp_path_factory.mktemp("encoders") / "other")


@pytest.fixture
def add():
    def add(seed, **given):
        file = io.BytesIO()
        draw(compose(seed), size=(96, 96)).save(file, "PNG")
        return add_image(NewImage(file=file, owner=make_user(), **given)).image

    return add


@pytest.fixture
def old(transactional_db):
    return spaces.ensure()


@pytest.fixture
def images(old, add):
    """Five images with captions, embedded by the bundled encoder."""
    found = [add(seed, caption=f"A scene of number {seed}") for seed in range(5)]
    pipeline.embed_waiting()
    return found


@pytest.fixture
def new(images, folder):
    """The space of the other encoder, filled."""
    space = steps.fill(str(folder))
    fill_all()
    space.refresh_from_db()
    return space


@pytest.fixture
def alive():
    """A worker gave a sign of life."""
    cache.set(worker.ALIVE, time.time(), timeout=600)


def forget_encoders():
    """Have the next use of an encoder read its files again."""
    registry.keep_only([])


def fill_all():
    """Do what workers do."""
    pipeline.add_missing()
    while pipeline.embed_waiting():
        pass
