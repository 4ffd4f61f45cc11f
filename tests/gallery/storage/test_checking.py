from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage

from gallery import originals
from gallery.decoding.processes import DecodersUnavailable
from gallery.errors import StorageUnavailable
from gallery.storage import checking
from gallery.storage.checking import Check
from gallery.storage.originals import Original
from tests.gallery.storage import servers
from tests.gallery.uploads import picture, stored

pytestmark = pytest.mark.django_db

UUID = "ab4e6d1c-0000-4000-8000-000000000001"


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
    orphans = [f"images/ab/{UUID}.png", f"thumbnails/ab/{UUID}-256.webp"]
    young = f"images/ab/{UUID}.jpg"
    for name in (*orphans, young):
        default_storage.save(name, ContentFile(b"x"))
    default_storage.save("somebody/elses.txt", ContentFile(b"x"))
    for name in (*orphans, "somebody/elses.txt"):
        make_old(name)
    make_old(image.file.name)
    findings, tally = check(capsys, status=1)
    assert [one["name"] for one in findings] == orphans
    assert default_storage.exists(orphans[0])
    findings, tally = check(capsys, "--repair")
    assert (tally["orphaned"], tally["repaired"]) == (2, 2)
    assert not default_storage.exists(orphans[0])
    assert default_storage.exists(young)
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


def test_one_object_that_is_refused_is_one_finding_and_the_others_are_read(moto, use, capsys):
    bucket = use(servers.made(servers.address(moto, f"b{uuid4().hex}")))
    refused, other = stored(0), stored(1)
    key = f"library/{refused.file.name}"
    bucket.client.put_object(
        Bucket=bucket.bucket_name, Key=key, Body=picture(0), StorageClass="GLACIER"
    )
    bucket.client.put_object(
        Bucket=bucket.bucket_name, Key=f"library/{other.file.name}", Body=picture(1)[::-1]
    )
    found, tally = check(capsys, "--hash", status=1)
    reason_by_name = {one["name"]: one["reason"] for one in found}
    assert reason_by_name.keys() == {refused.file.name, other.file.name}
    assert reason_by_name[refused.file.name].startswith("It cannot be read: the bucket did not")
    assert tally["damaged"] == 2


@pytest.mark.slow
def test_a_bucket_that_goes_away_while_it_is_read_says_nothing_of_its_files(shaky, proxy, use):
    use(shaky)
    stored(0)
    run = Check(storage=shaky, hashes=True, threads=1).run()
    shaky.client.meta.events.register(
        "before-send.s3.GetObject", lambda **_: proxy.fail("busy") if not proxy.fault else None
    )
    with pytest.raises(StorageUnavailable, match="503 SlowDown"):
        list(run)


def test_what_was_repaired_before_a_place_could_not_be_read_is_summed_up(capsys, tmp_path):
    image, orphan = stored(0), f"images/ab/{UUID}.png"
    default_storage.save(orphan, ContentFile(b"x"))
    make_old(orphan)
    originals.refer(image, Original(address=str(tmp_path / "away"), key="0.png", version="1:1"))
    findings, tally = check(capsys, "--repair", status=2)
    assert [one["name"] for one in findings] == [orphan]
    assert tally == {"orphaned": 1, "missing": 0, "damaged": 0, "repaired": 1}
    assert not default_storage.exists(orphan)


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
    bucket.save(f"images/ab/{UUID}.png", ContentFile(b"x"))
    bucket.delete(image.thumbnail_small.name)
    assert [one["wrong"] for one in check(capsys, status=1)[0]] == ["missing"]
    monkeypatch.setattr(checking, "ORPHAN_AGE", -checking.ORPHAN_AGE)  # all files are old
    _, tally = check(capsys, "--repair", "--hash")
    assert (tally["orphaned"], tally["missing"], tally["repaired"]) == (1, 1, 2)
    assert bucket.exists(image.thumbnail_small.name)
    assert not bucket.exists(f"images/ab/{UUID}.png")


def test_a_bucket_that_cannot_be_listed_is_not_an_empty_one(moto, use, capsys):
    use(servers.opened(servers.address(moto, "nobodys-bucket")))
    with pytest.raises(CommandError, match="bucket") as raised:
        call_command("check_storage", "--repair")
    assert raised.value.returncode == 2


@pytest.mark.parametrize(
    "name",
    [
        "images/holiday.png",
        "images/ab/holiday.png",
        f"images/cd/{UUID}.png",
        f"images/ab/{UUID}.png/more.png",
        f"images/ab/{UUID}-256.webp",
        f"thumbnails/ab/{UUID}.webp",
        f"thumbnails/ab/{UUID}-512.webp",
    ],
)
def test_files_of_names_that_the_gallery_does_not_give_are_left(capsys, name):
    default_storage.save(name, ContentFile(b"x"))
    make_old(name)
    assert check(capsys, "--repair")[0] == []
    assert default_storage.exists(name)


def test_what_a_link_leads_to_is_left(capsys, tmp_path):
    name = f"{UUID}.png"
    (tmp_path / name).write_bytes(b"x")
    os.utime(tmp_path / name, (1, 1))
    images = Path(default_storage.path("images"))
    images.mkdir(parents=True)
    (images / "ab").symlink_to(tmp_path)
    (images / "around").symlink_to(images)
    assert check(capsys, "--repair")[0] == []
    assert (tmp_path / name).exists()


def test_many_orphans_are_deleted_only_when_all_are_meant(capsys):
    names = [f"images/ab/{UUID[:-2]}{n:02}.png" for n in range(checking.FEW_ORPHANS + 1)]
    for name in names:
        default_storage.save(name, ContentFile(b"x"))
        make_old(name)
    with pytest.raises(CommandError, match="Nothing is deleted") as raised:
        call_command("check_storage", "--repair")
    assert raised.value.returncode == 2
    assert all(map(default_storage.exists, names))
    assert check(capsys, "--repair", "--all")[1]["repaired"] == len(names)
    assert not any(map(default_storage.exists, names))


def test_a_folder_whose_name_is_no_text_does_not_end_the_check(capsys):
    image = stored()
    folder = os.fsencode(default_storage.path("images")) + b"/\xff"
    os.mkdir(folder)  # noqa: PTH102 - a path that is no text
    Path(os.fsdecode(folder), "x.png").write_bytes(b"x")
    assert check(capsys, "--repair")[0] == []
    assert default_storage.exists(image.file.name)


def test_an_image_that_goes_while_its_thumbnail_is_made_does_not_end_the_check(capsys, monkeypatch):
    image = stored()
    default_storage.delete(image.thumbnail_small.name)
    confirmed = checking.is_named

    def goes_then(named):
        there = confirmed(named)
        image.delete()
        return there

    monkeypatch.setattr(checking, "is_named", goes_then)
    findings, _ = check(capsys, "--repair", status=1)
    assert "cannot be made anew" in findings[0]["reason"]


def test_decoders_that_cannot_start_do_not_end_the_check(capsys, monkeypatch):
    image = stored()
    default_storage.delete(image.thumbnail_small.name)

    def study(_):
        raise DecodersUnavailable("A process that decodes images ended as it began.")

    monkeypatch.setattr(checking.decoders, "study", study)
    findings, _ = check(capsys, "--repair", status=1)
    assert "ended as it began" in findings[0]["reason"]
