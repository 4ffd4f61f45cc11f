from __future__ import annotations

import socket
import time

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import override_settings

from embeddings import live
from gallery import spaces, worker
from gallery.models import ImageEmbedding
from tests.rows import make_space


def redis_at(address):
    """The settings of a cache at another address, for a while."""
    return override_settings(
        CACHES={"default": {**settings.CACHES["default"], "LOCATION": address}}
    )


@pytest.fixture
def everything(transactional_db):
    """All that a ready server has."""
    live.forget_all()
    live.index_of(ImageEmbedding, make_space()).refresh()
    cache.set(worker.ALIVE, time.time(), timeout=60)
    yield
    live.forget_all()


def test_alive_touches_neither_database_nor_redis(client):
    with redis_at("unix:///nowhere.sock"):
        answer = client.get("/healthz")  # without the db fixture, a query would raise
    assert (answer.status_code, answer.content) == (200, b"ok")


def test_it_is_ready_when_everything_is_there(client, everything):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "reasons": [],
        "parts": {"redis": True, "worker": True, "database": True, "index": True},
        "notice": spaces.notice(),
    }


def test_it_is_not_ready_without_a_worker(client, everything):
    cache.delete(worker.ALIVE)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["No worker was heard of lately."]


def test_it_is_not_ready_before_the_index_is_loaded(client, everything):
    live.forget_all()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["The index is being loaded."]


def test_it_is_not_ready_without_a_space(client, db):
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "There is no active space." in answer.json()["reasons"]


def test_it_is_not_ready_without_redis(client, everything):
    with redis_at("unix:///nowhere.sock"):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["Redis does not answer.", "A worker needs Redis."]


@pytest.mark.slow
def test_a_redis_that_does_not_answer_holds_nobody_for_long(client, everything):
    started = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        redis_at(f"redis://127.0.0.1:{silent.getsockname()[1]}"),
    ):
        assert client.get("/readyz").status_code == 503
    assert time.monotonic() - started < 20


@pytest.mark.django_db(transaction=True)
def test_without_the_database_everything_says_so(client, monkeypatch):
    with monkeypatch.context() as patch:
        connection.close()
        patch.setitem(connection.settings_dict, "HOST", "/nowhere")
        ready, images = client.get("/readyz"), client.get("/api/v1/images")
    assert ready.status_code == images.status_code == 503
    assert not ready.json()["parts"]["database"]
    assert images.json() == {"detail": "The database does not answer."}


def test_it_is_not_ready_without_its_tables(client, db):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE gallery_imageembedding RENAME TO elsewhere")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert not answer.json()["parts"]["database"]
    reasons = answer.json()["reasons"]
    assert "The database does not answer, or is not migrated." in reasons
    assert "The index needs the database." in reasons


def test_a_watcher_cannot_get_an_old_answer(client, everything):
    assert "no-store" in client.get("/readyz")["Cache-Control"]
