from __future__ import annotations

import pickle

import numpy as np
import pytest
from django.core.cache import cache

from searchsite.cache import SignedSerializer


class Trap:
    """Unpickled, it would raise: nothing of it may run."""

    def __reduce__(self):
        return (exec, ("raise AssertionError('the trap was sprung')",))


@pytest.fixture
def key():
    yield "test-cache"
    cache.delete("test-cache")


def write_raw(key, data):
    cache._cache.get_client(write=True).set(cache.make_key(key), data)


def test_what_is_written_is_read_back(key):
    for value in (1, True, "text", {"a": [1.5, None]}, b"bytes"):
        cache.set(key, value)
        assert cache.get(key) == value
    cache.set(key, np.arange(3))
    assert cache.get(key).tolist() == [0, 1, 2]


def test_numbers_can_be_counted(key):
    cache.set(key, 1)
    assert cache.incr(key) == 2


def test_a_client_is_made_once_and_outlives_its_connection(key):
    client = cache._cache.get_client(write=True)
    cache.set(key, "before")
    assert cache._cache.get_client(write=True) is client
    client.connection_pool.disconnect()  # as when Redis starts anew
    assert cache.get(key) == "before"


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Trap()),
        b"x" * 32 + pickle.dumps(Trap()),
        b"",
        b"short",
    ],
)
def test_what_somebody_else_has_written_is_not_run(key, data):
    write_raw(key, data)
    assert cache.get(key) is None


def test_what_was_changed_since_is_not_run(key, settings):
    signed = SignedSerializer().dumps(["a value"])
    write_raw(key, signed[:-1] + b"x")
    assert cache.get(key) is None
    write_raw(key, signed)
    assert cache.get(key) == ["a value"]
    settings.SECRET_KEY = "another"
    assert cache.get(key) is None
