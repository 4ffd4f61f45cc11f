from __future__ import annotations

import io
import re
import signal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from gallery.importers import registry
from gallery.importers.folder import Folder
from gallery.imports import ledger
from gallery.models import Image, ImportItem, ImportRun, ItemState, RunState, State
from tests.gallery import commands
from tests.images import make_images
from tests.rows import make_user
from tests.workers import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "a.JPG").write_bytes(make_images.sound())
    (folder / "b" / "c.png").write_bytes(make_images.sound("PNG"))
    (folder / "b" / "deep" / "d.webp").write_bytes(make_images.sound("WEBP"))
    (folder / "notes.txt").write_text("not a file for us")
    return folder


@pytest.fixture
def admin(transactional_db):
    return make_user("admin", is_superuser=True)


def run(*arguments: object) -> str:
    out = io.StringIO()
    call_command("import_images", *map(str, arguments), stdout=out)
    return out.getvalue()


def refused(*arguments: object) -> tuple[str, str, CommandError]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("import_images", *map(str, arguments), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue(), caught.value


def test_images_come_in_with_what_is_said_of_all(admin, folder):
    out = run("folder", folder, "--tag", "Trip", "--tag", "sea", "--album", "Summer")
    assert "3 new, 0 already there, 0 failed." in out
    assert "3 wait for the worker" in out
    assert Image.objects.filter(tags__name="trip", album__name="Summer").count() == 3
    assert set(Image.objects.values_list("original_name", flat=True)) == {
        "a.JPG", "c.png", "d.webp",
    }  # fmt: skip


def test_what_failed_is_named_and_told_by_the_status(admin, folder):
    (folder / "broken.jpg").write_bytes(b"no image")
    out, err, error = refused("folder", folder)
    assert "3 new, 0 already there, 1 failed." in out
    assert "broken.jpg: The file is not an image" in err
    assert "1 failed" in str(error)
    assert error.returncode == 1


def test_a_second_run_changes_nothing(admin, folder):
    run("folder", folder)
    before = list(Image.objects.order_by("pk").values())
    assert "0 new, 3 already there, 0 failed." in run("folder", folder)
    assert list(Image.objects.order_by("pk").values()) == before


def test_owner_and_visibility_can_be_chosen(admin, folder):
    ben = make_user("ben")
    run("folder", folder, "--owner", "ben", "--visibility", "private")
    assert Image.objects.filter(owner=ben, visibility="private").count() == 3


def test_nothing_is_said_to_wait_when_all_is_embedded(admin, folder):
    run("folder", folder)
    Image.objects.update(state=State.READY)
    assert "wait" not in run("folder", folder, "--no-wait")


def test_a_dry_run_says_what_would_happen_and_stores_nothing(admin, folder, settings):
    run("folder", folder / "b" / "deep")
    (folder / "broken.jpg").write_bytes(b"no image")
    out, _, _ = refused("folder", folder, "--dry-run")
    assert "Nothing was stored. Would be: 2 new, 1 already there, 1 failed." in out
    assert Image.objects.count() == 1
    states = dict(ImportItem.objects.filter(run__is_dry_run=True).values_list("name", "state"))
    assert states == {"a.JPG": "new", "c.png": "new", "d.webp": "held", "broken.jpg": "failed"}
    assert "2 new, 1 already there" in refused("folder", folder)[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["folder", "/no/such/folder"], "There is no folder /no/such/folder"),
        (["folder", ".", "--owner", "nobody"], "There is no user nobody"),
        (["folder", ".", "--tag", "x" * 200], "The tag has 200 characters"),
        (["demo", "--count", "many"], "count: Input should be a valid integer"),
        (["cloud", "x"], "invalid choice: 'cloud'"),
        (["folder"], "the following arguments are required: PATH"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(admin, arguments, sentence):
    _, _, error = refused(*arguments)
    assert sentence in str(error)
    assert error.returncode == 1
    assert not Image.objects.exists()


def test_without_a_superuser_an_owner_is_asked_for(db, folder):
    assert "There is no superuser" in str(refused("folder", folder)[2])


@pytest.mark.parametrize("kind", registry.SOURCES)
def test_every_source_has_help_for_all_its_options(kind, capsys):
    with pytest.raises(SystemExit) as caught:
        call_command("import_images", kind, "--help")
    assert caught.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for name, field in registry.SOURCES[kind].model_fields.items():
        assert field.description, name
        assert re.sub(r"\s+", " ", field.description)[:20] in text


def test_a_run_that_stopped_is_gone_on_with_by_the_same_command(admin, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder.rename(tmp_path / "elsewhere" / "pictures")
    assert "There is no folder" in str(refused("folder", folder)[2])
    (stopped,) = ImportRun.objects.all()
    assert stopped.state == RunState.BROKEN
    (tmp_path / "elsewhere" / "pictures").rename(folder)
    out = run("folder", folder)
    assert f"Going on with import {stopped.pk}." in out
    assert "3 new" in out
    stopped.refresh_from_db()
    assert stopped.state == RunState.DONE
    assert ImportRun.objects.count() == 1


def test_another_kind_of_run_is_no_continuation(admin, folder):
    ImportRun.objects.create(
        owner=admin, source="folder", options={"path": str(folder)}, place="", title="",
        defaults={"tags": ["sea"]}, state=RunState.PAUSED,
    )  # fmt: skip
    run("folder", folder)
    assert ImportRun.objects.count() == 2


# `manage.py imports`


def imports(*arguments: object) -> str:
    out = io.StringIO()
    call_command("imports", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_imports_are_listed_and_shown(admin, folder):
    (folder / "broken.jpg").write_bytes(b"no image")
    refused("folder", folder)
    number = ImportRun.objects.get().pk
    assert "3 new, 0 already there, 1 failed." in imports("list")
    assert "broken.jpg: The file is not an image" in imports("show", number)
    assert '"failed": 1' in imports("list", "--json")
    assert '"name": "broken.jpg"' in imports("show", number, "--json")


def test_a_failed_file_is_put_right_and_retried(admin, folder):
    (folder / "broken.jpg").write_bytes(b"no image")
    refused("folder", folder)
    (folder / "broken.jpg").write_bytes(make_images.sound(width=77))
    assert "4 new, 0 already there, 0 failed." in imports("retry", ImportRun.objects.get().pk)
    assert Image.objects.count() == 4


def test_what_fails_again_is_told_by_the_status(admin, folder):
    (folder / "broken.jpg").write_bytes(b"no image")
    refused("folder", folder)
    with pytest.raises(CommandError, match="1 failed") as caught:
        imports("retry", ImportRun.objects.get().pk)
    assert caught.value.returncode == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(ledger.pause, "It was paused from elsewhere"), (ledger.undo, "It was undone from elsewhere")],
)
def test_what_a_page_did_to_an_import_is_told_by_the_status(
    admin, folder, monkeypatch, change, sentence
):
    real = Folder.open

    def open_(self, key):
        change(ImportRun.objects.get())
        return real(self, key)

    monkeypatch.setattr(Folder, "open", open_)
    _, _, error = refused("folder", folder)
    assert sentence in str(error)
    assert error.returncode == 1


def test_an_import_is_undone_with_its_files(admin, folder, settings):
    run("folder", folder)
    out = imports("undo", ImportRun.objects.get().pk)
    assert "3 undone" in out
    assert not Image.objects.exists()
    assert not [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]
    with pytest.raises(CommandError, match="This import is undone: it cannot be paused"):
        imports("pause", ImportRun.objects.get().pk)


def test_an_import_that_is_not_there_is_told(db):
    with pytest.raises(CommandError, match="There is no import 7"):
        imports("show", 7)
    with pytest.raises(CommandError, match="is no number of an import"):
        imports("show", "seven")


@pytest.mark.slow
def test_ctrl_c_pauses_an_import_and_the_same_command_goes_on(admin, settings, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:03}.png").write_bytes(
            make_images.sound("PNG", width=400 + number, height=300)
        )
    process = commands.start("import_images", "folder", folder, "--no-wait")
    wait_until(lambda: Image.objects.count() >= 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    stopped_at = Image.objects.count()
    assert "Stopped. The same command goes on from here." in err
    assert 5 <= stopped_at < 100
    run_ = ImportRun.objects.get()
    assert run_.state == RunState.PAUSED
    assert not run_.items.filter(state=ItemState.WAITING, attempts__gt=0).exists()
    on_disk = [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]
    assert len(on_disk) == 3 * stopped_at

    assert "100 new, 0 already there, 0 failed." in run("folder", folder, "--no-wait")
    assert Image.objects.count() == 100
    assert ImportRun.objects.count() == 1


def test_the_folder_of_the_pattern_still_lists(folder):
    assert {item.name for item in Folder(path=str(folder)).items()} >= {"a.JPG", "c.png", "d.webp"}
