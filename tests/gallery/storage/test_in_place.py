"""Originals that stay in a bucket or folder of others: read there, and never written or deleted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from gallery import originals, spaces, verification
from gallery.duplicates import verdicts
from gallery.errors import ImageRefused
from gallery.importers import SourceUnreadable, registry
from gallery.importers.folder import Folder
from gallery.importers.s3 import Bucket
from gallery.imports import engine, ledger
from gallery.ingest import Added, NewImage, add_image
from gallery.models import (
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    ImportRun,
    Place,
    Reference,
    Verdict,
)
from gallery.pipeline import embed_waiting
from gallery.removal import delete_images
from gallery.storage import clients
from gallery.storage.addresses import parse_bucket
from gallery.storage.listings import stored_files
from gallery.subjects import IMAGES
from gallery.switching import steps
from tests.encoders import make_encoder
from tests.gallery.storage import servers
from tests.gallery.uploads import picture, stored
from tests.rows import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ODD_KEYS = [
    "a boat.png",
    "ünï/çødé \u202e gnp.png",
    "plus+and&what?is=it#now.png",
    "50% off %2F.png",
    "back\\slash.png",
    "quote'\"<script>.png",
    f"long/{'x' * 200}/{'y' * 200}/z.png",
]


class Outside:
    """A bucket of somebody else's, seen with their eyes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._at = parse_bucket(url)
        self._client = clients.connect(self._at)
        self._client.create_bucket(Bucket=self._at.bucket)

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(
            Bucket=self._at.bucket, Key=f"{self._at.prefix}/{key}", Body=content
        )

    def take_away(self, key: str) -> None:
        self._client.delete_object(Bucket=self._at.bucket, Key=f"{self._at.prefix}/{key}")

    def keys(self) -> set[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._at.bucket)
        return {
            entry["Key"].removeprefix(f"{self._at.prefix}/")
            for page in pages
            for entry in page.get("Contents", ())
        }


@pytest.fixture
def outside(url, settings) -> Outside:
    settings.REFERENCED_ENDPOINTS = (parse_bucket(url).endpoint,)
    return Outside(url)


@pytest.fixture
def moto_outside(moto, settings) -> Outside:
    settings.REFERENCED_ENDPOINTS = (moto,)
    return Outside(servers.address(moto, f"b{uuid4().hex}", prefix="pictures"))


@pytest.fixture
def photos(tmp_path, settings):
    folder = tmp_path / "photos"
    (folder / "2024").mkdir(parents=True)
    settings.REFERENCED_FOLDERS = (str(tmp_path / "photos"),)
    return folder


def brought_in(source: Any) -> ImportRun:
    run = ledger.start(source, make_user())
    engine.work(run)
    return run


def states(run: ImportRun) -> dict[str, int]:
    return {state: n for state, n in ledger.counts(run).items() if n}


def fetched(url: str) -> tuple[int, bytes, Any]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b"", error.headers


def sent(client: Any, image: Image) -> bytes:
    """Return what a browser gets that asks for the original."""
    answer = client.get(f"/images/{image.uuid}/file")
    if answer.status_code == 302:
        status, content, _ = fetched(answer.url)
        assert status == 200
        return content
    assert answer.status_code == 200
    return bytes(answer.getvalue())


def stored_names() -> list[str]:
    return [file.name for file in stored_files(default_storage)]


def findings(capsys: Any, *options: str) -> list[dict[str, Any]]:
    with suppress(CommandError):  # it says that something is wrong
        call_command("check_storage", "--json", *options)
    *found, _ = map(json.loads, capsys.readouterr().out.splitlines())
    return found


def test_originals_stay_and_are_shown_embedded_and_searched(outside, client):
    spaces.ensure()
    for seed, key in enumerate(ODD_KEYS):
        outside.put(key, picture(seed))
    run = brought_in(Bucket(url=outside.url, in_place=True))
    assert states(run) == {"new": len(ODD_KEYS)}
    assert not [name for name in stored_names() if not name.startswith("thumbnails/")]
    assert len(stored_names()) == 2 * len(ODD_KEYS)
    for seed, key in enumerate(ODD_KEYS):
        image = Reference.objects.get(key=key).image
        assert (image.file.name, image.bytes) == ("", len(picture(seed)))
        assert sent(client, image) == picture(seed)
        with originals.opened(image) as file:
            assert file.read() == picture(seed)
    assert embed_waiting() == len(ODD_KEYS)
    assert ImageEmbedding.objects.count() == len(ODD_KEYS)
    assert Place.objects.count() == 1
    assert "files" not in [one.part for one in verification.disagreements(hashes=True)]


def test_the_same_import_again_opens_nothing_and_one_that_copies_leaves_it_so(outside):
    outside.put("1.png", picture(1))
    brought_in(Bucket(url=outside.url, in_place=True))
    run = brought_in(Bucket(url=outside.url, in_place=True))
    assert states(run) == {"held": 1}
    assert not run.items.filter(attempts__gt=0).exists()
    assert states(brought_in(Bucket(url=outside.url))) == {"held": 1}
    assert Image.objects.get().file.name == ""


def test_nothing_is_deleted_there_by_removal_or_undoing(outside):
    for seed in range(3):
        outside.put(f"{seed}.png", picture(seed))
    run = brought_in(Bucket(url=outside.url, in_place=True))
    before = outside.keys()
    delete_images(Image.objects.filter(pk=Image.objects.earliest("pk").pk))
    ledger.undo(run)
    engine.work(run)
    assert (Image.objects.count(), Reference.objects.count()) == (0, 0)
    assert stored_names() == []
    assert outside.keys() == before


def test_what_took_its_place_is_never_shown_in_its_name(outside, client, capsys):
    spaces.ensure()
    outside.put("1.png", picture(1))
    brought_in(Bucket(url=outside.url, in_place=True))
    image = Image.objects.get()
    outside.put("1.png", picture(2))
    assert client.get(f"/images/{image.uuid}/file").status_code == 404
    assert client.head(f"/images/{image.uuid}/file").status_code == 404
    assert client.get(f"/images/{image.uuid}/thumbnail/256.webp").getvalue()[8:12] == b"WEBP"
    assert embed_waiting() == 0
    assert "taken the place of the original" in ImageEmbeddingJob.objects.get().last_error
    assert not originals.is_there(image)
    (found,) = findings(capsys)
    assert (found["wrong"], found["id"]) == ("damaged", image.pk)
    assert "Another file has taken its place." in found["reason"]
    (told,) = (one for one in verification.disagreements() if one.part == "files")
    assert "Another file has taken its place." in str(told)
    assert "--repair" not in str(told)
    # Both come in: the one that is there now as an image of its own.
    assert states(brought_in(Bucket(url=outside.url, in_place=True))) == {"new": 1}
    assert Image.objects.count() == 2
    assert sent(client, Image.objects.latest("pk")) == picture(2)


def test_what_is_gone_is_told_and_shown_as_gone(outside, client, capsys):
    for seed in range(3):
        outside.put(f"{seed}.png", picture(seed))
    brought_in(Bucket(url=outside.url, in_place=True))
    outside.take_away("1.png")
    image = Reference.objects.get(key="1.png").image
    assert client.get(f"/images/{image.uuid}/file").status_code == 404
    (found,) = findings(capsys, "--repair")
    assert (found["wrong"], found["id"], found["is_repaired"]) == ("missing", image.pk, False)
    assert found["name"].endswith("/1.png")


def test_a_file_that_was_moved_is_found_again_by_the_next_import(outside, client, capsys):
    outside.put("old.png", picture(1))
    brought_in(Bucket(url=outside.url, in_place=True))
    outside.put("new/name.png", picture(1))
    outside.take_away("old.png")
    run = brought_in(Bucket(url=outside.url, in_place=True))
    assert states(run) == {"held": 1}
    assert Reference.objects.get().key == "new/name.png"
    assert sent(client, Image.objects.get()) == picture(1)
    assert findings(capsys) == []


def test_a_copy_elsewhere_changes_nothing_while_the_original_is_there(outside):
    outside.put("a.png", picture(1))
    brought_in(Bucket(url=outside.url, in_place=True))
    outside.put("b.png", picture(1))
    brought_in(Bucket(url=outside.url, in_place=True))
    assert Reference.objects.get().key == "a.png"


def test_what_was_replaced_between_list_and_reading_is_not_taken_for_the_other(outside):
    source = Bucket(url=outside.url, in_place=True)
    outside.put("1.png", picture(1))
    (item,) = source.items()
    outside.put("1.png", picture(2))
    run = ledger.start(source, make_user())
    run.items.create(key=item.key, name=item.name, version=item.version)
    storer = engine.Storer(run, source)
    outcome = storer.open_and_store(run.items.get())
    assert outcome.reason == "The file was replaced after it was listed: run the import again."
    assert not Image.objects.exists()


def test_a_presigned_address_lives_shortly_and_is_not_kept(moto_outside, client, settings):
    moto_outside.put("page.html.png", picture(1))
    brought_in(Bucket(url=moto_outside.url, in_place=True))
    image = Image.objects.get()
    answer = client.get(f"/images/{image.uuid}/file")
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Amz-Expires=300" in answer.url
    _, _, headers = fetched(answer.url)
    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Disposition"].startswith("inline; filename=")
    settings.STORAGE_URL_SECONDS = 0
    answer = client.get(f"/images/{image.uuid}/file")
    assert (answer.status_code, answer.getvalue()) == (200, picture(1))


def test_rights_are_those_of_the_image(moto_outside, client):
    moto_outside.put("1.png", picture(1))
    brought_in(Bucket(url=moto_outside.url, in_place=True))
    image = Image.objects.get()
    Image.objects.update(visibility="private")
    assert client.get(f"/images/{image.uuid}/file").status_code == 404
    client.force_login(make_user("bob"))
    assert client.get(f"/images/{image.uuid}/file").status_code == 404
    client.force_login(make_user("ann"))
    assert sent(client, image) == picture(1)


def test_a_library_is_moved_without_what_is_not_in_it(
    moto_outside, moto, tmp_path, settings, capsys
):
    settings.DATA_DIR = tmp_path
    moto_outside.put("1.png", picture(1))
    brought_in(Bucket(url=moto_outside.url, in_place=True))
    stored(2)
    target = servers.address(moto, f"b{uuid4().hex}")
    servers.made(target)
    call_command("move_storage", "local", target)
    assert "5 copied, 0 already there, 0 failed." in capsys.readouterr().out
    assert moto_outside.keys() == {"1.png"}


def test_a_thumbnail_is_made_anew_from_there(moto_outside, capsys):
    moto_outside.put("1.png", picture(1))
    brought_in(Bucket(url=moto_outside.url, in_place=True))
    image = Image.objects.get()
    default_storage.delete(image.thumbnail_small.name)
    assert [one["wrong"] for one in findings(capsys)] == ["missing"]
    assert [one["is_repaired"] for one in findings(capsys, "--repair")] == [True]
    assert default_storage.exists(image.thumbnail_small.name)


def test_another_encoder_reads_from_there(moto_outside, tmp_path):
    spaces.ensure()
    moto_outside.put("1.png", picture(1))
    brought_in(Bucket(url=moto_outside.url, in_place=True))
    assert embed_waiting() == 1
    IMAGES.queue.add_missing(steps.fill(str(make_encoder("clip", tmp_path / "other"))))
    assert embed_waiting() == 1
    assert ImageEmbedding.objects.count() == 2


def test_a_place_that_is_away_says_nothing_of_its_files_and_the_others_are_looked_at(
    moto_outside, photos, capsys
):
    moto_outside.put("1.png", picture(1))
    brought_in(Bucket(url=moto_outside.url, in_place=True))
    (photos / "2.png").write_bytes(picture(2))
    brought_in(Folder(path=str(photos), in_place=True))
    Place.objects.filter(address__startswith="s3").update(
        address=servers.address("http://127.0.0.1:9", "away", timeout=1)
    )
    (photos / "2.png").unlink()
    with pytest.raises(CommandError, match=r"The place s3://away/library cannot be read") as raised:
        call_command("check_storage", "--json")
    assert raised.value.returncode == 2
    found, tally = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["wrong"], tally["missing"]) == ("missing", 1)


def test_a_place_that_nothing_lies_in_any_more_may_be_gone(moto_outside, photos, capsys):
    moto_outside.put("1.png", picture(1))
    brought_in(Bucket(url=moto_outside.url, in_place=True))
    (photos / "2.png").write_bytes(picture(2))
    brought_in(Folder(path=str(photos), in_place=True))
    Place.objects.filter(address__startswith="s3").update(
        address=servers.address("http://127.0.0.1:9", "away", timeout=1)
    )
    shutil.rmtree(photos)
    delete_images(Image.objects.all())
    assert Place.objects.count() == 2
    call_command("check_storage", "--json")
    assert json.loads(capsys.readouterr().out)["missing"] == 0
    assert not [one for one in verification.disagreements() if one.part == "files"]


def test_images_of_a_folder_stay_in_it(photos, client, capsys):
    spaces.ensure()
    (photos / "1.png").write_bytes(picture(1))
    name = os.fsencode(photos / "2024") + b"/latin-\xe9 \n.png"
    with open(name, "wb") as file:  # noqa: PTH123 - a name that is no text
        file.write(picture(2))
    assert states(brought_in(Folder(path=str(photos), in_place=True))) == {"new": 2}
    assert len(stored_names()) == 4
    for seed, image in enumerate(Image.objects.order_by("reference__key"), 1):
        assert sent(client, image) == picture(seed)
    assert embed_waiting() == 2
    assert findings(capsys, "--hash") == []
    delete_images(Image.objects.all())
    assert len([path for path in photos.rglob("*") if path.is_file()]) == 2


def test_a_file_of_a_folder_that_changed_is_told_and_not_shown(photos, client, capsys):
    (photos / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    image = Image.objects.get()
    (photos / "1.png").write_bytes(picture(2))
    assert client.get(f"/images/{image.uuid}/file").status_code == 404
    assert [one["wrong"] for one in findings(capsys)] == ["damaged"]


def test_other_bytes_of_the_same_size_and_time_are_found_by_their_hash(photos, capsys):
    path = photos / "1.png"
    path.write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    before = path.stat()
    path.write_bytes(picture(1)[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert findings(capsys) == []
    assert [one["wrong"] for one in findings(capsys, "--hash")] == ["damaged"]


def test_only_servers_that_the_settings_name_may_keep_originals(moto_outside, client, settings):
    spaces.ensure()
    moto_outside.put("1.png", picture(1))
    source = {"url": moto_outside.url, "in_place": True}
    brought_in(registry.load("s3", source))
    image = Image.objects.get()
    settings.REFERENCED_ENDPOINTS = ()
    with pytest.raises(SourceUnreadable, match=r"in_place: .*REFERENCED_ENDPOINTS"):
        registry.load("s3", source)
    registry.load("s3", source | {"in_place": False})  # what is copied is looked at once, by hand
    # As after a restore: the row is there, and this machine's settings do not know its server.
    assert client.get(f"/images/{image.uuid}/file").status_code == 503
    assert embed_waiting() == 0
    assert "not in REFERENCED_ENDPOINTS" in ImageEmbeddingJob.objects.get().last_error
    settings.REFERENCED_ENDPOINTS = (parse_bucket(moto_outside.url).endpoint,)
    assert sent(client, image) == picture(1)


def test_browsers_are_sent_to_no_server_that_the_settings_do_not_name(moto_outside):
    url = f"{moto_outside.url}&public=https://Elsewhere.example"
    with pytest.raises(SourceUnreadable, match=r"https://elsewhere\.example is not in REFERENCED"):
        registry.load("s3", {"url": url, "in_place": True})


def test_only_folders_that_are_allowed_may_be_referred_to(photos, tmp_path, settings):
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "other", tmp_path, photos / ".." / "other", tmp_path / "photos-too"):
        with pytest.raises(SourceUnreadable, match=r"in_place: .*REFERENCED_FOLDERS"):
            registry.load("folder", {"path": str(path), "in_place": True})
    (tmp_path / "way").symlink_to(tmp_path / "other")
    settings.REFERENCED_FOLDERS = (str(photos),)
    (photos / "link").symlink_to(tmp_path / "other")
    with pytest.raises(SourceUnreadable, match="REFERENCED_FOLDERS"):
        registry.load("folder", {"path": str(photos / "link"), "in_place": True})
    assert registry.load("folder", {"path": str(photos / "2024"), "in_place": True})


def test_a_folder_that_is_no_longer_allowed_is_no_longer_shown(photos, client, settings):
    (photos / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    image = Image.objects.get()
    settings.REFERENCED_FOLDERS = ()
    assert client.get(f"/images/{image.uuid}/file").status_code == 503


def out_by_link(photos: Any, tmp_path: Any) -> None:
    (photos / "1.png").unlink()
    (photos / "1.png").symlink_to(tmp_path / "secret.png")


def out_by_linked_folder(photos: Any, tmp_path: Any) -> None:
    (photos / "2024").rmdir()
    (photos / "2024").symlink_to(tmp_path)
    Reference.objects.update(key="2024/secret.png")


def out_by_key(photos: Any, tmp_path: Any) -> None:
    Reference.objects.update(key="../secret.png")


def out_by_full_path(photos: Any, tmp_path: Any) -> None:
    Reference.objects.update(key=str(tmp_path / "secret.png"))


def out_by_pipe(photos: Any, tmp_path: Any) -> None:
    (photos / "1.png").unlink()
    os.mkfifo(photos / "1.png")


@pytest.mark.parametrize(
    "way", [out_by_link, out_by_linked_folder, out_by_key, out_by_full_path, out_by_pipe]
)
def test_nothing_outside_of_the_folder_is_ever_opened(
    photos, tmp_path, client, way: Callable[..., None]
):
    (photos / "1.png").write_bytes(picture(1))
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    status = (photos / "1.png").stat()
    os.utime(secret, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same version
    way(photos, tmp_path)
    image = Image.objects.get()
    assert client.get(f"/images/{image.uuid}/file").status_code in (404, 503)
    with pytest.raises(OSError), originals.opened(image):  # noqa: PT011 - whichever it is
        pass


def test_links_in_the_folder_are_not_taken_in_place(photos):
    (photos / "1.png").write_bytes(picture(1))
    (photos / "2.png").symlink_to(photos / "1.png")
    run = brought_in(Folder(path=str(photos), in_place=True))
    assert states(run) == {"new": 1, "failed": 1}
    assert "link" in run.items.get(key="2.png").reason


def test_an_original_that_is_gone_is_known_to_be_gone(photos):
    (photos / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    image = Image.objects.get()
    assert originals.is_there(image)
    (photos / "1.png").unlink()
    assert not originals.is_there(image)


def test_bytes_that_were_replaced_are_never_shown_as_what_replaced_them(photos, client):
    (photos / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    image = Image.objects.get()
    gone = hashlib.sha256(picture(2)).hexdigest()
    verdicts.remember(
        image.owner_id, [(gone, image.sha256)], Verdict.REPLACED, kept=image.sha256, by=None
    )
    (photos / "1.png").unlink()
    (photos / "2.png").write_bytes(picture(2))
    assert states(brought_in(Folder(path=str(photos), in_place=True))) == {"held": 1}
    assert Reference.objects.get().key == "1.png"
    assert client.get(f"/images/{image.uuid}/file").status_code == 404


def test_a_lost_original_is_stored_when_its_bytes_are_sent(photos, client):
    (photos / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    image = Image.objects.get()
    add_image(NewImage(file=io.BytesIO(picture(1)), owner=image.owner))
    assert len(stored_names()) == 2  # while it is there it stays there
    (photos / "1.png").unlink()
    image = Image.objects.get()
    added = add_image(NewImage(file=io.BytesIO(picture(1)), owner=image.owner))
    assert added == (image, False)
    image = Image.objects.get()
    assert not Reference.objects.exists()
    assert sent(client, image) == picture(1)
    assert len(stored_names()) == 3
    assert not [one for one in verification.disagreements(hashes=True) if one.part == "files"]


def test_what_is_stored_for_a_lost_original_goes_with_what_is_rolled_back(photos):
    (photos / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    (photos / "1.png").unlink()

    def note(_added: Added) -> None:
        raise ImageRefused("no")

    owner = Image.objects.get().owner
    with pytest.raises(ImageRefused):
        add_image(NewImage(file=io.BytesIO(picture(1)), owner=owner), note=note)
    assert Reference.objects.exists()
    assert len(stored_names()) == 2


def test_a_file_that_was_moved_there_and_back_is_found_again(photos, client):
    (photos / "a.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    (photos / "a.png").rename(photos / "b.png")
    brought_in(Folder(path=str(photos), in_place=True))
    (photos / "b.png").rename(photos / "a.png")
    assert states(brought_in(Folder(path=str(photos), in_place=True))) == {"held": 1}
    assert sent(client, Image.objects.get()) == picture(1)
    run = brought_in(Folder(path=str(photos), in_place=True))
    assert not run.items.filter(attempts__gt=0).exists()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_is_not_mounted_has_lost_nothing(photos, client, is_there):
    spaces.ensure()
    (photos / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    image = Image.objects.get()
    (photos / "1.png").unlink()
    (photos / "2024").rmdir()
    if not is_there:
        photos.rmdir()
    with pytest.raises(OSError, match="empty or not there"):
        originals.is_there(image)
    assert client.get(f"/images/{image.uuid}/file").status_code == 503
    with pytest.raises(CommandError, match=r"cannot be read"):
        call_command("check_storage", "--json")
    assert embed_waiting() == 0
    job = ImageEmbeddingJob.objects.get()
    assert (job.attempts, job.failed_at) == (0, None)


def test_a_file_in_the_place_of_a_folder_leaves_nothing_below_it(photos, client):
    (photos / "2024" / "1.png").write_bytes(picture(1))
    brought_in(Folder(path=str(photos), in_place=True))
    (photos / "2024" / "1.png").unlink()
    (photos / "2024").rmdir()
    (photos / "2024").write_bytes(b"")
    image = Image.objects.get()
    assert not originals.is_there(image)
    assert client.get(f"/images/{image.uuid}/file").status_code == 404
