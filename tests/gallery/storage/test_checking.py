from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage

from gallery.storage import checking
from gallery.storage.checking import Check
from tests.gallery.storage import servers
from tests.gallery.uploads import stored

pytestmark = pytest.mark.django_db


def check(capsys, *options, status=0):
    """Return the lines of `check_storage --json`: what is wrong, and the sum."""
    failed = 0
    try:
        call_command("check_storage", "--json", *options)
    except CommandError as error:
        failed = error.returncode
    assert failed == status
    *findings, tally = map(json.loads, capsys.readouterr().out.splitlines())
    return findings, tally


def make_old(name):
    past = time.time() - 7200
    os.utime(default_storage.path(name), (past, past))


def test_a_sound_library_has_nothing_to_tell(capsys):
    stored(0)
    stored(1)
    findings, tally = check(capsys, "--hash")
    assert findings == []
    assert tally == {"orphaned": 0, "missing": 0, "damaged": 0, "repaired": 0}


def test_orphans_are_found_when_they_are_older_than_an_hour_and_deleted_on_repair(capsys):
    image = stored()
    for name in ("images/zz/old.png", "thumbnails/old.webp", "images/young.png"):
        default_storage.save(name, ContentFile(b"x"))
    default_storage.save("somebody/elses.txt", ContentFile(b"x"))
    for name in ("images/zz/old.png", "thumbnails/old.webp", "somebody/elses.txt"):
        make_old(name)
    make_old(image.file.name)
    findings, tally = check(capsys, status=1)
    assert [one["name"] for one in findings] == ["images/zz/old.png", "thumbnails/old.webp"]
    assert default_storage.exists("images/zz/old.png")
    findings, tally = check(capsys, "--repair")
    assert (tally["orphaned"], tally["repaired"]) == (2, 2)
    assert not default_storage.exists("images/zz/old.png")
    assert default_storage.exists("images/young.png")
    assert default_storage.exists("somebody/elses.txt")
    assert default_storage.exists(image.file.name)
    assert check(capsys)[0] == []


def test_thumbnails_are_made_anew_and_originals_are_not(capsys):
    image, lost = stored(0), stored(1)
    default_storage.delete(image.thumbnail_small.name)
    Path(image.thumbnail_large.path).write_bytes(b"")
    default_storage.delete(lost.file.name)
    default_storage.delete(lost.thumbnail_small.name)
    findings, tally = check(capsys, status=1)
    assert tally == {"orphaned": 0, "missing": 3, "damaged": 1, "repaired": 0}
    findings, tally = check(capsys, "--repair", status=1)
    assert tally == {"orphaned": 0, "missing": 3, "damaged": 1, "repaired": 2}
    left = [one for one in findings if not one["is_repaired"]]
    assert {(one["field"], one["id"]) for one in left} == {
        ("image.file", lost.pk), ("image.thumbnail_small", lost.pk)
    }  # fmt: skip
    assert any("from a backup" in one["reason"] for one in left)
    with image.thumbnail_small.open() as file:
        assert PillowImage.open(io.BytesIO(file.read())).size == (32, 24)
    lost.delete()
    assert [one["wrong"] for one in check(capsys)[0]] == []


def test_other_bytes_are_told_by_their_number_or_by_their_hash(capsys):
    short, other = stored(0), stored(1)
    Path(short.file.path).write_bytes(b"x")
    path = Path(other.file.path)
    path.write_bytes(path.read_bytes()[::-1])
    assert [one["name"] for one in check(capsys, status=1)[0]] == [short.file.name]
    names = {one["name"] for one in check(capsys, "--hash", status=1)[0]}
    assert names == {short.file.name, other.file.name}


def test_a_file_that_is_named_after_the_rows_were_read_is_no_orphan(capsys, monkeypatch):
    image = stored()
    for field in (image.file, image.thumbnail_small, image.thumbnail_large):
        make_old(field.name)
    monkeypatch.setattr(checking, "named_files", lambda: iter(()))  # as if read before
    assert check(capsys, "--repair")[0] == []
    assert default_storage.exists(image.file.name)


def test_an_image_that_is_deleted_meanwhile_misses_nothing():
    image = stored()
    run = Check(storage=default_storage).run()
    image_files = [image.file.name, image.thumbnail_small.name, image.thumbnail_large.name]
    for name in image_files:
        default_storage.delete(name)
    image.delete()
    assert [finding for findings in run for finding in findings] == []


def test_people_are_told_in_lines(capsys):
    image = stored()
    default_storage.delete(image.file.name)
    with pytest.raises(CommandError, match="1 wrong and not repaired"):
        call_command("check_storage")
    told = capsys.readouterr().out
    assert f"missing: {image.file.name} (image.file of {image.pk}): The storage does not" in told
    assert "0 orphaned, 1 missing, 0 damaged, 0 repaired." in told


@pytest.mark.slow
def test_a_bucket_is_checked_and_repaired_as_a_folder_is(bucket, use, capsys, monkeypatch):
    use(bucket)
    image = stored()
    bucket.save("images/ab/orphan.png", ContentFile(b"x"))
    bucket.delete(image.thumbnail_small.name)
    assert [one["wrong"] for one in check(capsys, status=1)[0]] == ["missing"]
    monkeypatch.setattr(checking, "ORPHAN_AGE", -checking.ORPHAN_AGE)  # all files are old
    _, tally = check(capsys, "--repair", "--hash")
    assert (tally["orphaned"], tally["missing"], tally["repaired"]) == (1, 1, 2)
    assert bucket.exists(image.thumbnail_small.name)
    assert not bucket.exists("images/ab/orphan.png")


def test_a_bucket_that_cannot_be_listed_is_not_an_empty_one(moto, use, capsys):
    use(servers.opened(servers.address(moto, "nobodys-bucket")))
    with pytest.raises(CommandError, match="bucket") as raised:
        call_command("check_storage", "--repair")
    assert raised.value.returncode == 2
