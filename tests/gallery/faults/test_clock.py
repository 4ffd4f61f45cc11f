"""The clock of the whole site is moved by an hour while images come in."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import postgres
from tests.gallery.faults.site import Site, kill, make_pictures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="moving a clock needs a C compiler"),
]

HOUR = 3600
PICTURES = 120


class Clock:
    """What every process of a site takes for the time."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / "clock"
        folder.mkdir(mode=0o755)
        self.shim, self.file = folder / "clock.so", folder / "moved"
        source = Path(__file__).with_name("clock.c")
        options = ["-O1", "-shared", "-fPIC", "-o", str(self.shim), str(source), "-ldl"]
        subprocess.run(["cc", *options], check=True)
        self.file.touch()
        self.move(0)
        # Postgres' user reads them, too.
        folder.chmod(0o755)
        self.shim.chmod(0o755)
        self.file.chmod(0o644)

    def move(self, seconds: int) -> None:
        # Not written anew: those who have mapped the file must see it.
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    @property
    def variables(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.shim), "CLOCK_FILE": str(self.file)}


@pytest.fixture
def clock(data_dir: Path) -> Clock:
    return Clock(data_dir)


@pytest.fixture
def site(data_dir: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    environment = postgres._environment()
    monkeypatch.setattr(postgres, "_environment", lambda: environment | clock.variables)
    for name, value in clock.variables.items():  # of Redis and of our own processes
        monkeypatch.setenv(name, value)
    with Site(data_dir) as site:
        yield site


def epoch(site: Site) -> int:
    seconds: int = site.one("SELECT extract(epoch FROM now())::bigint")
    return seconds


@pytest.mark.parametrize("moved", [HOUR, -HOUR])
def test_an_import_goes_on_when_the_clock_is_moved(site: Site, clock: Clock, tmp_path, moved):
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    first, second = site.worker(), site.worker()
    beat = site.beat()
    site.start_unattended_import(folder)
    site.wait_until(lambda: site.count("gallery_imageembedding") > 10)
    before = epoch(site)
    clock.move(moved)
    assert abs(epoch(site) - before - moved) < 30
    site.wait_until(lambda: site.is_embedded(PICTURES))
    assert [one.poll() for one in (first, second, beat)] == [None, None, None]
    assert site.count("gallery_importrun WHERE state = 'done'") == 1
    site.assert_whole(PICTURES, failed=1)


def test_what_dead_workers_held_is_free_when_the_clock_is_set_back(
    site: Site, clock: Clock, tmp_path
):
    """Their leases end in an hour then, and nobody waits for that."""
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    workers = [site.worker(f"--queues={name}") for name in ("semblance", "semblance-upkeep")]
    beat = site.beat()
    site.start_unattended_import(folder)
    held = "gallery_imageembeddingjob WHERE lease_until > now()"
    at_work = "gallery_importrun WHERE lease_token IS NOT NULL AND lease_until > now()"

    def are_stopped_with_work_in_hand() -> bool:
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        if site.count(held) and site.count(at_work):
            return True
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        return False

    site.wait_until(are_stopped_with_work_in_hand)
    for worker in workers:
        kill(worker)
    clock.move(-HOUR)
    ahead = "now() + interval '50 minutes'"
    assert site.count(f"gallery_imageembeddingjob WHERE lease_until > {ahead}")
    assert site.count(f"gallery_importrun WHERE lease_until > {ahead}") == 1
    site.worker()
    site.wait_until(lambda: site.is_embedded(PICTURES))
    assert beat.poll() is None
    site.assert_whole(PICTURES, failed=1, orphans=30)
