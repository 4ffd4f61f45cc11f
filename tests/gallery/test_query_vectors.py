from __future__ import annotations

import socket

import numpy as np
import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import override_settings

from embeddings.encoders import sources
from embeddings.models import Space
from gallery import spaces
from gallery.search import kept, text_vector, vectors
from gallery.search.vectors import Encoded, _Asked
from tests.encoders import make_encoder

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_remembered():
    forget()
    kept._failed_at = -kept.RETRY_SECONDS
    yield
    kept._failed_at = -kept.RETRY_SECONDS  # the next test's Redis answers


def forget():
    """Do what a new process does: remember nothing but what Redis holds."""
    vectors._encoded.cache_clear()


@pytest.fixture
def space():
    return spaces.ensure()


def test_a_process_takes_over_what_another_has_encoded(space):
    first = text_vector(space, "a boat at night")
    forget()
    Space.objects.filter(pk=space.pk).update(name="/gone")  # nothing could be encoded any more
    again = text_vector(space, "a boat at night")
    assert np.array_equal(first, again)
    assert vectors._encoded.cache_info().misses == 1


def test_spaces_between_words_do_not_make_another_text(space):
    text_vector(space, "a boat")
    text_vector(space, "  a \n boat ")
    assert vectors._encoded.cache_info().hits == 1


def test_another_revision_has_its_own_vectors(space):
    text_vector(space, "a boat")
    forget()
    other = Space(name=space.name, revision="another", dimensions=space.dimensions)
    assert vectors._known(_Asked.of(other, "a boat")) is None
    assert vectors._known(_Asked.of(space, "a boat")) is not None


def test_another_encoder_s_space_may_have_the_number_of_one_that_is_remembered(space, tmp_path):
    """As after a database was restored under a running server."""
    text_vector(space, "a boat")
    folder = make_encoder("clip", tmp_path / "clip")
    other = sources.find(str(folder))
    there = Space.objects.filter(pk=space.pk)
    there.update(name=other.name, revision=other.revision, dimensions=24)
    assert text_vector(there.get(), "a boat").shape == (24,)


@pytest.mark.parametrize(
    "rubbish", [Encoded(b"123", ()), Encoded(b"\0" * 8, ()), "text", (1, 2, 3), 7]
)
def test_what_is_no_vector_of_this_space_is_encoded_anew(space, rubbish):
    expected = text_vector(space, "a boat")
    forget()
    cache.set(_Asked.of(space, "a boat").key, rubbish)
    assert np.array_equal(text_vector(space, "a boat"), expected)


def test_without_redis_texts_are_encoded_all_the_same(space):
    nowhere = {"default": settings.CACHES["default"] | {"LOCATION": "unix:///nowhere/redis.sock"}}
    expected = text_vector(space, "a boat")
    forget()
    with override_settings(CACHES=nowhere):
        assert np.array_equal(text_vector(space, "a boat"), expected)


def test_a_redis_that_does_not_answer_is_waited_for_once(space, tmp_path):
    path = tmp_path / "redis.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        nowhere = settings.CACHES["default"] | {
            "LOCATION": f"unix://{path}",
            "OPTIONS": {"socket_connect_timeout": 0.1, "socket_timeout": 0.1},
        }
        with override_settings(CACHES={"default": nowhere}):
            for number in range(5):
                text_vector(space, f"boat number {number}")
        assert callers(silent) == 1


def callers(listening: socket.socket) -> int:
    listening.settimeout(0)
    number = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return number
        number += 1
