from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from gallery.importers import Item, Skipped, SourceUnreadable
from gallery.importers.watch import Watch
from gallery.models import Image, ImportRun, RunState
from gallery.trees import changes
from tests.images import make_images
from tests.rows import make_user

STILL = 0.4
STILLER = 1.2  # where something is written all the while: a busy machine makes pauses in that
LONG = 60.0  # for what must come, on a busy machine


class Listing:
    """Reads a source on a thread, as the ledger does: what has been told before is nothing new."""

    def __init__(self, source: Watch) -> None:
        self.source = source
        self._entries: queue.Queue[Item | Skipped] = queue.Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def next(self) -> Item | Skipped:
        return self._entries.get(timeout=LONG)

    def named(self, count: int) -> list[str]:
        return sorted(self.next().key.partition("\\@")[0] for _ in range(count))

    def is_silent(self, seconds: float = 1.5) -> bool:
        time.sleep(seconds)
        return self._entries.empty()

    def stop(self) -> None:
        self.source.stop()
        self._thread.join(timeout=LONG)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        told: set[str] = set()
        for entry in self.source.items():
            if entry.key not in told:
                self._entries.put(entry)
            told.add(entry.key)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "inbox"
    root.mkdir()
    return root


@pytest.fixture
def listing(root: Path) -> Iterator[Listing]:
    yield from watched(root, STILL)


@pytest.fixture
def patient(root: Path) -> Iterator[Listing]:
    yield from watched(root, STILLER)


def watched(root: Path, still_seconds: float) -> Iterator[Listing]:
    old(root / "first.jpg")
    listing = Listing(Watch(path=str(root), still_seconds=still_seconds, look_seconds=1000))
    assert listing.named(1) == ["first.jpg"]
    yield listing
    listing.stop()


def old(path: Path, content: bytes = b"pixels") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    wait_until_old()


def wait_until_old() -> None:
    time.sleep(STILL + 0.1)  # the time of change is the system's, nobody can set it back


def test_what_lies_there_comes_first_and_then_what_is_put_there(root, listing):
    (root / "second.png").write_bytes(b"1")
    assert listing.named(1) == ["second.png"]
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "third.jpg").write_bytes(b"1")
    assert listing.named(1) == ["deep/er/third.jpg"]


def test_a_file_comes_once_it_is_still(root, patient):
    with (root / "slow.jpg").open("wb", buffering=0) as file:
        for _ in range(8):
            file.write(b"piece")
            time.sleep(STILLER / 6)
            assert patient.is_silent(0)
    entry = patient.next()
    assert entry.key.startswith("slow.jpg")
    with patient.source.open(entry.key) as file:
        assert file.read() == b"piece" * 8


def test_what_is_moved_away_or_renamed_meanwhile_does_not_come_under_its_old_name(root, listing):
    (root / "a.jpg.part").write_bytes(b"1")
    (root / "gone.jpg").write_bytes(b"1")
    (root / "old.jpg").write_bytes(b"1")
    (root / "a.jpg.part").rename(root / "a.jpg")
    (root / "gone.jpg").unlink()
    (root / "old.jpg").rename(root / "new.jpg")
    assert listing.named(2) == ["a.jpg", "new.jpg"]
    assert listing.is_silent()


def test_a_folder_that_is_moved_in_comes_with_all_that_is_in_it(root, tmp_path, listing):
    (tmp_path / "album" / "deep").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "deep/3.jpg", ".hidden.jpg"):
        (tmp_path / "album" / name).write_bytes(b"1")
    (tmp_path / "album").rename(root / "album")
    assert listing.named(3) == ["album/1.jpg", "album/2.jpg", "album/deep/3.jpg"]


def test_a_file_that_is_written_anew_comes_again(root, listing):
    (root / "first.jpg").write_bytes(b"another scan")
    entry = listing.next()
    assert entry.key.startswith("first.jpg")
    with listing.source.open(entry.key) as file:
        assert file.read() == b"another scan"


def test_an_image_waits_for_its_sidecar(root, patient):
    (root / "b.jpg").write_bytes(b"1")
    with (root / "b.txt").open("wb", buffering=0) as file:
        for _ in range(8):
            file.write(b"boat ")
            time.sleep(STILLER / 6)
    assert patient.next().about.caption == " ".join(["boat"] * 8)


@pytest.mark.parametrize("text", ["log.txt", "b.txt", "c.jpg.part"])
def test_a_file_that_never_comes_to_rest_holds_up_no_image(root, listing, text):
    stop = threading.Event()

    def write() -> None:
        with (root / text).open("wb", buffering=0) as file:
            while not stop.wait(STILL / 4):
                file.write(b"one more line\n")

    writing = threading.Thread(target=write)
    writing.start()
    try:
        (root / "b.jpg").write_bytes(b"1")
        assert listing.named(1) == ["b.jpg"]
    finally:
        stop.set()
        writing.join()


def test_hidden_and_linked_files_do_not_come(root, tmp_path, listing):
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "a.jpg").write_bytes(b"1")
    (root / ".tmp").mkdir()
    (root / ".tmp" / "b.jpg").write_bytes(b"1")
    (root / "c.jpg").write_bytes(b"1")
    assert listing.named(1) == ["c.jpg"]
    assert listing.is_silent()


def test_a_name_that_is_no_text_comes_and_the_watch_goes_on(root, listing):
    (root / os.fsdecode(b"latin-\xe9.jpg")).write_bytes(b"1")
    assert listing.named(1) == [r"latin-\xe9.jpg"]
    (root / "after.jpg").write_bytes(b"1")
    assert listing.named(1) == ["after.jpg"]


def test_a_folder_that_goes_away_is_waited_for(root, listing):
    root.rename(root.parent / "away")
    gone = listing.next()
    assert isinstance(gone, Skipped)
    assert "Watching goes on when it is there again" in gone.reason
    (root.parent / "away" / "meanwhile.jpg").write_bytes(b"1")
    wait_until_old()
    (root.parent / "away").rename(root)
    assert listing.named(1) == ["meanwhile.jpg"]
    (root / "after.jpg").write_bytes(b"1")
    assert listing.named(1) == ["after.jpg"]


def test_a_folder_that_was_never_there_is_an_error(tmp_path):
    with pytest.raises(SourceUnreadable, match="no folder"):
        next(Watch(path=str(tmp_path / "no")).items())


def test_what_the_system_does_not_tell_is_found_by_looking(root, monkeypatch):
    def deaf(*_args: object, **_options: object) -> None:
        raise OSError("no more watches")

    # A stand-in for a network disk, or for fs.inotify.max_user_watches used up.
    monkeypatch.setattr(changes.watchfiles, "watch", deaf)
    old(root / "first.jpg")
    listing = Listing(Watch(path=str(root), still_seconds=STILL, look_seconds=1))
    try:
        assert listing.named(1) == ["first.jpg"]
        (root / "second.jpg").write_bytes(b"1")
        assert listing.named(1) == ["second.jpg"]
    finally:
        listing.stop()


def run_command(root: Path, media: Path) -> subprocess.Popen[str]:
    # The test's own database and media, in a process of its own.
    program = (
        "import signal, django; from django.conf import settings; django.setup();"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"settings.DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r};"
        f"settings.MEDIA_ROOT = {str(media)!r};"
        "from django.core.management import execute_from_command_line as run;"
        f"run(['manage.py', 'import_images', 'watch', {str(root)!r}, '--still-seconds', '0.5'])"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "searchsite.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True
    )


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_imports_what_comes_ends_cleanly_and_goes_on(
    transactional_db, settings, root, number
):
    make_user("admin", is_superuser=True)
    old(root / "a.png", make_images.sound("PNG", width=60))
    process = run_command(root, settings.MEDIA_ROOT)
    try:
        until(lambda: Image.objects.count() == 1)
        (root / "b.png").write_bytes(make_images.sound("PNG", width=61))
        until(lambda: Image.objects.count() == 2)
    finally:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from here" in err
    (run,) = ImportRun.objects.all()
    assert run.state == RunState.PAUSED

    old(root / "b.png", make_images.sound("PNG", width=62))  # replaced while nobody looks
    process = run_command(root, settings.MEDIA_ROOT)
    try:
        until(lambda: Image.objects.count() == 3)
    finally:
        process.send_signal(number)
        process.communicate(timeout=60)
    assert ImportRun.objects.count() == 1
    assert Image.objects.count() == 3


def test_a_file_with_the_mark_of_versions_in_its_name_is_opened(root):
    (root / "a\\@b.jpg").write_bytes(make_images.sound())
    listing = Listing(Watch(path=str(root), still_seconds=STILL))
    try:
        item = listing.next()
        with listing.source.open(item.key) as file:
            assert file.read() == make_images.sound()
    finally:
        listing.stop()
