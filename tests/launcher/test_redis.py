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
