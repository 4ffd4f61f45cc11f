from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import redis

from launcher.redis import EmbeddedRedis
from tests.launcher.conftest import kill_everything, processes_below


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


def test_what_is_kept_for_a_while_gives_way_to_tasks_when_the_memory_is_full(server: EmbeddedRedis):
    with redis.Redis.from_url(server.url) as client:
        client.lpush("tasks", "the first one")
        for number in range(150):  # megabytes: more than there is room for
            client.set(f"a search {number}", bytes(2**20), ex=3600)
        client.lpush("tasks", "another one")

        assert client.llen("tasks") == 2
        assert client.info("stats")["evicted_keys"] > 0


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
    assert server.is_running
    server.stop()
    assert not processes_below(data_dir)
