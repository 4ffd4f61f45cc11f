from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg
import pytest

from launcher import accounts, postgres
from launcher.errors import ServerFailed
from launcher.folders import make_passable
from launcher.postgres import EmbeddedPostgres
from launcher.servers import ROOT
from tests.launcher.conftest import kill_everything, processes_below, wait_until


def one_value(server: EmbeddedPostgres, statement: LiteralString) -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


def test_it_has_pgvector_and_the_settings_we_rely_on(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            distance = connection.execute("SELECT '[1,0]'::halfvec <=> '[0,1]'").fetchone()
        assert distance == (1.0,)
        assert one_value(server, "SHOW fsync") == "on"
        assert one_value(server, "SHOW listen_addresses") == ""
        assert one_value(server, "SHOW server_encoding") == "UTF8"
        assert one_value(server, "SELECT upper('ß ä é')") == "ß Ä É"
        assert one_value(server, "SHOW timezone") == "UTC"
    finally:
        server.stop()


def test_nobody_else_can_enter_its_folder_or_its_socket(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    try:
        for folder in (server.home, server.home / "socket", server.cluster):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert server.account.owns(folder)
    finally:
        server.stop()


def test_it_leaves_the_mode_and_the_owner_of_the_folders_above_alone(new_data_dir: Path):
    above = [new_data_dir, *new_data_dir.parents]
    before = [(path.stat().st_mode, path.stat().st_uid) for path in above]
    server = EmbeddedPostgres(new_data_dir)
    server.start()
    server.stop()
    assert [(path.stat().st_mode, path.stat().st_uid) for path in above] == before


def test_what_was_committed_survives_kill_9_of_every_process(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE image (id int)")
        connection.execute("INSERT INTO image VALUES (7)")
        kill_everything(data_dir)
    server.stop()

    again = EmbeddedPostgres(data_dir)
    again.start()
    assert one_value(again, "SELECT id FROM image") == 7
    again.stop()
    assert not processes_below(data_dir)


def test_a_lock_file_with_the_process_id_of_somebody_else_is_no_obstacle(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    pid_file = server.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    kill_everything(data_dir)
    server.stop()
    # After a restart of the machine the old id may belong to any process, even to one of
    # the same user, which Postgres itself takes for a running server.
    with subprocess.Popen(
        ["sleep", "300"], cwd="/", start_new_session=True, **server.account.credentials
    ) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.start()
        assert server.is_running
        server.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_set_up_that_was_killed_half_way_is_made_again(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    server.stop()
    (server.cluster / "global" / "pg_control").unlink()
    server.cluster.rename(server.home / "cluster.new")
    server.start()
    assert server.is_running
    server.stop()


def test_a_server_that_dies_comes_back_while_somebody_needs_it(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    pid = int((server.cluster / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    # Its id is given back by the keeper; without a server, as it is for a moment, one who looks
    # rarely may never find it.
    wait_until(lambda: not psutil.pid_exists(pid) and server.is_running)
    server.stop()


def test_the_last_one_out_ends_it(data_dir: Path):
    first, second = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
    first.start()
    second.start()
    first.stop()
    assert second.is_running
    second.stop()
    assert not processes_below(data_dir)


def test_it_ends_when_its_only_user_is_killed(data_dir: Path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from launcher.postgres import EmbeddedPostgres\n"
        "EmbeddedPostgres(Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, data_dir], cwd=ROOT, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
        user.kill()
    wait_until(lambda: not processes_below(data_dir))


@pytest.mark.slow
def test_several_who_come_at_once_share_one_server(data_dir: Path):
    program = (
        "import sys; from pathlib import Path; from launcher.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1])); server.start(); print(server.is_running)\n"
        "server.stop()"
    )
    users = [
        subprocess.Popen(
            [sys.executable, "-c", program, data_dir], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    assert [user.communicate(timeout=60)[0] for user in users] == ["True\n"] * 5
    wait_until(lambda: not processes_below(data_dir))


def test_a_path_too_long_for_a_socket_gets_a_short_one(far_data_dir: Path):
    server = EmbeddedPostgres(far_data_dir)
    server.start()
    try:
        link = server.home / "socket"
        assert link.is_symlink()
        assert stat.S_IMODE(link.stat().st_mode) == 0o700
        assert one_value(server, "SELECT current_database()") == "semblance"
    finally:
        server.stop()
        link.readlink().rmdir()


def test_a_failure_names_the_reason_and_the_log(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    server.stop()
    (server.cluster / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServerFailed, match=r"configuration file.*contains errors.*postgres.log"):
        server.start()
    assert not processes_below(data_dir)


def test_a_cluster_of_another_version_is_not_touched(data_dir: Path):
    server = EmbeddedPostgres(data_dir)
    server.start()
    server.stop()
    (server.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerFailed, match="made by Postgres 17"):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
class TestAsRoot:
    def test_it_runs_as_an_unprivileged_user(self, data_dir: Path):
        server = EmbeddedPostgres(data_dir)
        server.start()
        try:
            pid = int((server.cluster / "postmaster.pid").read_text().splitlines()[0])
            assert psutil.Process(pid).username() in accounts.NAMES
        finally:
            server.stop()

    def test_it_moves_where_its_user_can_go_when_the_data_folder_is_closed(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ):
        reachable = make_passable(data_dir.parent / "reachable")
        closed = data_dir / "closed"
        closed.mkdir(mode=0o700)
        (closed / "var").mkdir()
        monkeypatch.setattr(postgres, "REACHABLE", reachable)
        (closed / "var" / "logs").mkdir()
        server = EmbeddedPostgres(closed / "var")
        server.prepare()
        assert server.home.parent == reachable
        assert server.account.owns(server.home)
        assert str(server.home) in server.notice
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    def test_it_copies_the_binaries_where_its_user_can_go(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ):
        reachable = make_passable(data_dir.parent / "reachable")
        monkeypatch.setattr(postgres, "REACHABLE", reachable)
        copy = postgres.copy_install(postgres.find_install(None))
        program = copy / "bin" / "postgres"
        account = accounts.for_postgres(data_dir / "missing")
        shown = subprocess.run(
            [program, "--version"], cwd="/", capture_output=True, check=True, **account.credentials
        )
        assert b"PostgreSQL) 18" in shown.stdout
