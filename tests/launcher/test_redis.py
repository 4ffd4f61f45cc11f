from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
import redis

from launcher.redis import EmbeddedRedis
from tests.launcher.conftest import kill_everything, processes_below, wait_until


@pytest.fixture
def server(data_dir: Path):
    server = EmbeddedRedis(data_dir)
    server.start()
    yield server
    server.stop()


def test_it_answers_at_its_address(server: EmbeddedRedis):
    with redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_it_listens_on_no_port(server: EmbeddedRedis):
    with redis.Redis.from_url(server.url) as client:
        process = psutil.Process(client.info("server")["process_id"])
    assert process.net_connections(kind="inet") == []


def test_a_full_one_forgets_what_has_an_end_and_keeps_every_call(server: EmbeddedRedis):
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "16mb")
        client.rpush("calls", "before")
        for place in range(40):
            if place == 10:
                time.sleep(2)  # Redis tells times of use apart by the second
            client.set(f"search:{place}", bytes(10**6), ex=3600)
        client.rpush("calls", "after")

        assert client.lrange("calls", 0, -1) == [b"before", b"after"]
        kept = [place for place in range(40) if client.exists(f"search:{place}")]
        assert 0 < len(kept) < 16
        # Those used longest ago, but for one or two: it looks at a few of them at a time.
        assert sum(place < 10 for place in kept) < 3


def test_a_path_too_long_for_a_socket_gets_a_short_one(far_data_dir: Path):
    server = EmbeddedRedis(far_data_dir)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.ping()
    server.stop()
    (server.home / "socket").readlink().rmdir()


def test_it_starts_again_after_kill_9_of_every_process(data_dir: Path):
    server = EmbeddedRedis(data_dir)
    server.start()
    kill_everything(data_dir)
    server.stop()
    server.start()
    wait_until(lambda: server.is_running)  # it has a second to answer
    server.stop()
    assert not processes_below(data_dir)
