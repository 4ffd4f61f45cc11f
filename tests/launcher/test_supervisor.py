from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from launcher import logs, processes, supervisor
from launcher.errors import LauncherError
from launcher.servers import ROOT
from launcher.supervisor import Command, Supervisor, run_to_end
from tests.launcher.conftest import processes_below, wait_until

# Says its name and its process id, then waits; with a child of its own, as gunicorn has.
PATIENT = "echo started $$; sleep 300 & wait"
# Hears no TERM, like a worker that is deep in a torch call.
DEAF = "trap '' TERM; echo started $$; while :; do sleep 0.1; done"


def shell(script: str, name: str = "child") -> Command:
    return Command(name=name, arguments=("/bin/sh", "-c", script))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(new_data_dir: Path, said: list[str]):
    made: list[Supervisor] = []

    def make(*commands: Command) -> Supervisor:
        environ = {"PATH": os.environ["PATH"], "DATA_DIR": str(new_data_dir)}
        made.append(Supervisor(commands, data_dir=new_data_dir, environ=environ, say=said.append))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_children_write_to_their_own_logs(make, new_data_dir: Path):
    make(shell("echo one; sleep 300", "one"), shell("echo two >&2; sleep 300", "two")).start()
    wait_until(lambda: (new_data_dir / "logs" / "one.log").read_text() == "one\n")
    wait_until(lambda: (new_data_dir / "logs" / "two.log").read_text() == "two\n")


def test_a_child_that_dies_is_started_again_and_told_of_in_one_line(
    make, new_data_dir: Path, said: list[str]
):
    children = make(shell(PATIENT))
    children.start()
    log = new_data_dir / "logs" / "child.log"
    wait_until(lambda: "started" in log.read_text())
    os.kill(int(log.read_text().split()[1]), signal.SIGKILL)

    def is_started_again() -> bool:
        children.check()
        return log.read_text().count("started") == 2

    wait_until(is_started_again)
    assert said == [f"child was killed by signal 9, starting it again in 0.5 s: see {log}"]


def test_a_child_that_cannot_start_ends_the_start_with_its_last_words(
    make, new_data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_SECONDS", 0.0)
    children = make(shell("echo out of paint; exit 3"))
    children.start()

    def check_for_ever() -> None:
        while True:
            children.check()
            time.sleep(0.01)

    with pytest.raises(LauncherError, match=r"child does not stay up.* status 3: out of paint"):
        check_for_ever()


@pytest.mark.slow
def test_it_kills_what_does_not_hear(make, new_data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.5)
    children = make(shell(DEAF, "deaf"), shell(PATIENT, "patient"))
    children.start()
    for name in ("deaf", "patient"):
        wait_until(lambda: "started" in (new_data_dir / "logs" / f"{name}.log").read_text())  # noqa: B023
    children.stop()
    assert not processes_below(new_data_dir)


def test_it_kills_though_the_machine_stood_still(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "KILL_SECONDS", 0.2)
    with subprocess.Popen(["/bin/sh", "-c", DEAF], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline().startswith(b"started")

        def find() -> list[psutil.Process]:
            time.sleep(0.5)
            return processes.alive(deaf.pid)

        processes.end(find, timeout_seconds=0.1, first=signal.SIGTERM)
        is_alive = bool(processes.alive(deaf.pid))
        deaf.kill()
    assert not is_alive


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of this")
def test_children_go_when_the_launcher_is_killed(new_data_dir: Path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from launcher.supervisor import Command, Supervisor\n"
        "folder = Path(sys.argv[1])\n"
        "command = Command(name='child', arguments=('sleep', '300'))\n"
        "environ = {'PATH': '/usr/bin:/bin', 'DATA_DIR': str(folder)}\n"
        "Supervisor([command], data_dir=folder, environ=environ, say=print).start()\n"
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, new_data_dir], cwd=ROOT, stdout=subprocess.PIPE
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"up\n"
        assert len(processes_below(new_data_dir)) == 2
        launcher.kill()
    wait_until(lambda: not processes_below(new_data_dir))


def test_the_next_start_ends_what_a_killed_one_has_left(new_data_dir: Path):
    environ = {**os.environ, supervisor.MARK: str(new_data_dir)}
    with (
        subprocess.Popen(["sleep", "300"], env=environ) as left,
        subprocess.Popen(["sleep", "300"]) as stranger,
    ):
        supervisor.end_leftovers(new_data_dir)
        assert left.wait(timeout=60) != 300
        assert stranger.poll() is None
        stranger.kill()


def test_a_command_that_ends_by_itself_gives_its_status(new_data_dir: Path):
    log = new_data_dir / "setup.log"
    assert run_to_end(shell("echo done; exit 4"), environ=os.environ, log=log) == 4
    assert log.read_text() == "done\n"


def test_an_interrupted_command_is_ended(new_data_dir: Path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    environ = {**os.environ, "DATA_DIR": str(new_data_dir)}
    with pytest.raises(KeyboardInterrupt):
        run_to_end(shell(PATIENT), environ=environ, log=new_data_dir / "log", meanwhile=interrupt)
    assert not processes_below(new_data_dir)


def test_a_large_log_is_put_aside_while_it_is_written(
    new_data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logs, "LARGEST_BYTES", 10)
    log = new_data_dir / "child.log"
    with log.open("a") as child:
        child.write("a long first line\n")
        child.flush()
        logs.rotate(log)
        child.write("second\n")
    assert log.read_text() == "second\n"
    assert (new_data_dir / "child.log.1").read_text() == "a long first line\n"


def test_the_last_words_are_the_reason_and_not_the_tidying_up(new_data_dir: Path):
    log = new_data_dir / "child.log"
    assert logs.last_words(log) == "it wrote nothing"
    log.write_text("started\nended\n")
    assert logs.last_words(log) == "ended"
    log.write_text("could not write: FATAL: no space\ntidying up\n")
    assert logs.last_words(log) == "could not write: FATAL: no space"
