from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from gallery.importers.folder import Folder
from gallery.intake import Defaults, take_in
from gallery.models import Image, State
from tests.images import make_images
from tests.rows import make_user


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "a.JPG").write_bytes(make_images.sound())
    (folder / "b" / "c.png").write_bytes(make_images.sound("PNG"))
    (folder / "b" / "deep" / "d.webp").write_bytes(make_images.sound("WEBP"))
    (folder / "b" / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not a file for us")
    return folder


def run(*arguments: object) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("import_images", *map(str, arguments), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def count_connections():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        (count,) = cursor.fetchone()
    return count


def test_a_folder_yields_its_images_in_order_by_their_suffix(folder):
    assert [item.name for item in Folder(folder)] == ["a.JPG", "broken.jpg", "c.png", "d.webp"]
    assert len(Folder(folder)) == 4


def test_hidden_files_and_links_out_of_the_folder_are_left_out(folder, tmp_path):
    (folder / ".hidden.jpg").write_bytes(make_images.sound())
    (folder / ".cache").mkdir()
    (folder / ".cache" / "e.jpg").write_bytes(make_images.sound())
    (tmp_path / "secret.jpg").write_bytes(make_images.sound())
    (folder / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    (folder / "circle").symlink_to(folder)
    (folder / "folder.jpg").mkdir()
    (folder / "inside.jpg").symlink_to(folder / "a.JPG")
    names = [item.name for item in Folder(folder)]
    assert names == ["a.JPG", "broken.jpg", "c.png", "d.webp", "inside.jpg"]


def test_images_are_imported_and_the_refused_named(transactional_db, folder):
    make_user("admin", is_superuser=True)
    out, err = run("folder", folder, "--tag", "Trip", "--tag", "sea", "--album", "Summer")
    assert "3 new, 0 already there, 1 refused." in out
    assert "3 wait for the worker" in out
    assert "broken.jpg: The file is not an image" in err
    assert Image.objects.filter(tags__name="trip", album__name="Summer").count() == 3
    assert set(Image.objects.values_list("original_name", flat=True)) == {
        "a.JPG", "c.png", "d.webp",
    }  # fmt: skip


def test_a_second_run_finds_all_there(transactional_db, folder):
    make_user("admin", is_superuser=True)
    run("folder", folder)
    out, _ = run("folder", folder)
    assert "0 new, 3 already there, 1 refused." in out


def test_owner_and_visibility_can_be_chosen(transactional_db, folder):
    make_user("admin", is_superuser=True)
    ben = make_user("ben")
    run("folder", folder, "--owner", "ben", "--visibility", "private")
    assert Image.objects.filter(owner=ben, visibility="private").count() == 3


def test_nothing_is_said_to_wait_when_all_is_embedded(transactional_db, folder):
    make_user("admin", is_superuser=True)
    run("folder", folder)
    Image.objects.update(state=State.READY)
    out, _ = run("folder", folder, "--no-wait")
    assert "wait" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["folder", "/no/such/folder"], "There is no folder /no/such/folder"),
        (["folder", ".", "--owner", "nobody"], "There is no user nobody"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(db, arguments, sentence):
    make_user("admin", is_superuser=True)
    with pytest.raises(CommandError, match=sentence) as caught:
        run(*arguments)
    assert caught.value.returncode == 1


def test_without_a_superuser_an_owner_is_asked_for(db, folder):
    with pytest.raises(CommandError, match="There is no superuser"):
        run("folder", folder)


def test_a_file_that_cannot_be_opened_is_refused_with_its_reason(transactional_db, folder):
    items = list(Folder(folder))
    (folder / "a.JPG").unlink()
    outcomes = list(take_in(items, Defaults(owner=make_user())))
    assert [outcome.refusal for outcome in outcomes if outcome.name == "a.JPG"] == [
        "The file cannot be read: No such file or directory."
    ]
    assert sum(outcome.is_new for outcome in outcomes) == 2


def test_no_thread_and_no_connection_stays_behind(transactional_db, folder):
    before = count_connections()
    list(take_in(Folder(folder), Defaults(owner=make_user())))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("intake")]
    deadline = time.monotonic() + 10  # Postgres takes a moment to see that they are closed
    while count_connections() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count_connections() <= before


def test_an_intake_that_is_ended_early_leaves_whole_images(transactional_db, tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.png").write_bytes(make_images.sound("PNG", width=60 + number))
    outcomes = take_in(Folder(tmp_path), Defaults(owner=make_user()))
    next(outcomes)
    outcomes.close()
    count = Image.objects.count()
    assert 1 <= count < 40
    for image in Image.objects.all():
        for field in (image.file, image.thumbnail_small, image.thumbnail_large):
            assert Path(field.path).is_file()


@pytest.mark.slow
def test_ctrl_c_ends_an_import_and_the_next_run_goes_on(transactional_db, settings, tmp_path):
    make_user("admin", is_superuser=True)
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:03}.png").write_bytes(
            make_images.sound("PNG", width=400 + number, height=300)
        )
    # The test's own database and media, in a process of its own.
    program = (
        "import signal, sys, django; from django.conf import settings; django.setup();"
        # A shell's background job, as the tests may be, is deaf to Ctrl-C, and so are its children.
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"settings.DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r};"
        f"settings.MEDIA_ROOT = {str(settings.MEDIA_ROOT)!r};"
        "from django.core.management import execute_from_command_line as run;"
        f"run(['manage.py', 'import_images', 'folder', {str(folder)!r}, '--no-wait'])"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "searchsite.settings"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while Image.objects.count() < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    stopped_at = Image.objects.count()
    assert re.search(r"Stopped: [\d,]+ new.* goes on from here", err)
    assert 5 <= stopped_at < 100
    on_disk = [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]
    assert len(on_disk) == 3 * stopped_at

    out, _ = run("folder", folder, "--no-wait")
    assert f"{100 - stopped_at} new, {stopped_at} already there, 0 refused." in out
