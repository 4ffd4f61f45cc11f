"""Uploads in parts: the tus protocol, its hostile users, and what is left when processes die."""

from __future__ import annotations

import base64
import io
import shutil
import uuid
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from gallery.errors import StorageUnavailable
from gallery.models import Image, Upload, UploadSession, UploadState
from gallery.uploads import finishing, parts, receiving
from gallery.uploads.descriptions import NewUpload
from gallery.uploads.errors import UploadConflict, UploadError, UploadMissing
from gallery.uploads.tasks import tend_uploads
from searchsite.celery import app
from tests.gallery.uploads import as_user, picture, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db

UPLOADS = "/api/v1/uploads"
SESSIONS = "/api/v1/upload-sessions"
TUS = {"Tus-Resumable": "1.0.0"}
PART = "application/offset+octet-stream"
CONTENT = picture(1)


@pytest.fixture
def ann():
    return as_user("ann")


def metadata(**pairs) -> str:
    values = {key: base64.b64encode(str(value).encode()) for key, value in pairs.items()}
    return ",".join(f"{key} {value.decode()}" for key, value in values.items())


def begin(client, content=CONTENT, *, part=b"", **pairs):
    headers = TUS | {"Upload-Length": str(len(content)), "Upload-Metadata": metadata(**pairs)}
    return client.post(UPLOADS, part, content_type=PART, headers=headers)


def patch(client, address, offset, part):
    headers = TUS | {"Upload-Offset": str(offset)}
    # CONTENT_TYPE: of an empty part the client would otherwise say none.
    return client.patch(address, part, content_type=PART, headers=headers, CONTENT_TYPE=PART)


def offset_of(client, address) -> int:
    return int(client.head(address, headers=TUS)["Upload-Offset"])


def part_files(settings):
    return [path for path in settings.UPLOAD_DIR.rglob("*") if path.is_file()]


# The protocol


def test_a_file_arrives_in_parts_and_becomes_an_image(ann, settings):
    begun = begin(ann, filename="boat.png", caption="A boat", tags="Sea, red", album="Harbour")
    assert begun.status_code == 201
    assert begun["Tus-Resumable"] == "1.0.0"
    address = begun["Location"]
    assert patch(ann, address, 0, CONTENT[:500])["Upload-Offset"] == "500"
    assert not Image.objects.exists()
    assert offset_of(ann, address) == 500
    last = patch(ann, address, 500, CONTENT[500:])
    image = Image.objects.get()
    assert last.status_code == 204
    assert last["Upload-State"] == "new"
    assert last["Upload-Image"] == image.get_absolute_url()
    assert (image.original_name, image.caption, image.album.name) == (
        "boat.png",
        "A boat",
        "Harbour",
    )
    assert [tag.name for tag in image.tags.all()] == ["red", "sea"]
    with default_storage.open(image.file.name) as file:
        assert file.read() == CONTENT
    assert part_files(settings) == []


def test_a_small_file_needs_one_request(ann, settings):
    answer = begin(ann, part=CONTENT, filename="boat.png")
    assert answer.status_code == 201
    assert answer["Upload-Offset"] == str(len(CONTENT))
    assert answer["Upload-Image"] == Image.objects.get().get_absolute_url()
    assert part_files(settings) == []


def test_the_same_bytes_again_are_the_same_image(ann):
    begin(ann, part=CONTENT, filename="boat.png")
    again = begin(ann, part=CONTENT, filename="again.png")
    assert again["Upload-State"] == "held"
    assert Image.objects.count() == 1


def test_what_is_no_image_is_refused_with_a_sentence_and_nothing_stays(ann, settings):
    answer = begin(ann, b"no image at all", part=b"no image at all", filename="notes.png")
    assert answer.status_code == 422
    assert "not an image of a kind that is taken" in answer.json()["detail"]
    assert Upload.objects.get().state == UploadState.REFUSED
    assert part_files(settings) == []


def test_an_empty_file_is_refused(ann):
    answer = begin(ann, b"", filename="empty.png")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The file is empty."


def test_the_server_says_what_it_speaks(client, settings):
    answer = client.options(UPLOADS)
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert answer["Tus-Max-Size"] == str(max(settings.MAX_IMAGE_BYTES, settings.VIDEO_MAX_BYTES))
    assert set(answer["Tus-Extension"].split(",")) == {
        "creation", "creation-with-upload", "termination", "expiration"
    }  # fmt: skip


@pytest.mark.parametrize("version", [None, "0.2.2", "2.0.0", ""])
def test_another_version_is_refused(ann, version):
    headers = {"Upload-Length": "5"} | ({"Tus-Resumable": version} if version is not None else {})
    answer = ann.post(UPLOADS, headers=headers)
    assert answer.status_code == 412
    assert answer["Tus-Version"] == "1.0.0"


def test_a_cancelled_upload_is_forgotten(ann, settings):
    address = begin(ann, part=CONTENT[:100])["Location"]
    assert len(part_files(settings)) == 1
    assert ann.delete(address, headers=TUS).status_code == 204
    answer = ann.head(address, headers=TUS)
    assert answer.status_code == 404
    assert "Upload-Offset" not in answer
    assert part_files(settings) == []


def test_a_method_that_does_not_get_through_comes_as_post(ann):
    address = begin(ann, part=CONTENT[:100])["Location"]
    headers = TUS | {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "100"}
    answer = ann.post(address, CONTENT[100:], content_type=PART, headers=headers)
    assert answer.status_code == 204
    assert Image.objects.count() == 1
    assert ann.post(address, headers=TUS).status_code == 405


def test_an_upload_tells_what_became_of_it(ann):
    address = begin(ann, part=CONTENT, relativePath="Norway/boat.png")["Location"]
    record = ann.get(address).json()
    image = Image.objects.get()
    assert record["state"] == "new"
    assert record["image"] == str(image.uuid)
    assert record["path"] == "Norway/boat.png"


# Hostile and broken


@pytest.mark.parametrize(
    "length", [None, "", "-1", "1e3", "1.5", "٣", "0x10", "9" * 17, "9" * 5000]
)
def test_a_wrong_length_is_refused(ann, length):
    headers = TUS | ({"Upload-Length": length} if length is not None else {})
    answer = ann.post(UPLOADS, headers=headers)
    assert answer.status_code == 400
    assert "Upload-Length" in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_a_length_that_is_not_known_yet_is_refused(ann):
    answer = ann.post(UPLOADS, headers=TUS | {"Upload-Defer-Length": "1"})
    assert answer.status_code == 400


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(ann, settings):
    settings.MAX_IMAGE_BYTES = 1000
    session = ann.post(SESSIONS, {}, content_type="application/json").json()
    answer = begin(ann, b"x" * 1001, filename="large.png", session=session["id"])
    assert answer.status_code == 413
    assert "at most 0.001 MB" in answer.json()["detail"]
    # Its session remembers it.
    assert Upload.objects.get().state == UploadState.REFUSED
    headers = TUS | {"Upload-Length": str(2**53 - 1)}
    assert ann.post(UPLOADS, content_type=PART, headers=headers).status_code == 413


@pytest.mark.parametrize("offset", [None, "", "-1", "99", "101", str(2**52), "9" * 30, "1 00"])
def test_a_wrong_offset_changes_nothing(ann, offset):
    address = begin(ann, part=CONTENT[:100])["Location"]
    headers = TUS | ({"Upload-Offset": offset} if offset is not None else {})
    answer = ann.patch(address, CONTENT[100:], content_type=PART, headers=headers)
    assert answer.status_code in (400, 409)
    assert answer.json()["detail"].endswith(".")
    assert offset_of(ann, address) == 100


def test_a_part_past_the_end_is_refused(ann):
    address = begin(ann, part=CONTENT[:100])["Location"]
    assert patch(ann, address, 100, CONTENT[100:] + b"x").status_code == 413
    assert offset_of(ann, address) == 100
    assert patch(ann, address, 100, CONTENT[100:]).status_code == 204


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data; boundary=x", "image/png", ""]
)
def test_a_part_of_another_type_is_refused(ann, content_type):
    address = begin(ann)["Location"]
    headers = TUS | {"Upload-Offset": "0"}
    answer = ann.patch(address, CONTENT, content_type=content_type, headers=headers)
    assert answer.status_code == 415
    headers = TUS | {"Upload-Length": str(len(CONTENT))}
    assert ann.post(UPLOADS, CONTENT, content_type=content_type, headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd.png", "etc/passwd.png"),
        ("..\\..\\boot.png", "boot.png"),
        ("/absolute/boat.png", "absolute/boat.png"),
        ("a\x00b\x1b[31m.png", "ab[31m.png"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("a//./b/../c.png", "a/b/c.png"),
        ("", ""),
        ("..", ""),
    ],
)
def test_a_hostile_name_is_only_shown(ann, settings, name, shown):
    answer = begin(ann, part=CONTENT, relativePath=name)
    assert answer.status_code == 201
    upload = Upload.objects.get()
    assert upload.path == shown
    assert Image.objects.get().original_name == shown.rpartition("/")[2]
    assert part_files(settings) == []


def test_a_name_of_4000_bytes_is_shortened(ann):
    assert begin(ann, part=CONTENT, filename="ü" * 1996 + ".png").status_code == 201
    image = Image.objects.get()
    assert len(image.original_name) == 255
    assert image.original_name.endswith("ü.png")


@pytest.mark.parametrize(
    "header",
    ["filename ???", "filename /w==", "filename " + "A" * 21_000, "caption " + "AAAA"],
)
def test_wrong_metadata_get_a_sentence(ann, header):
    answer = ann.post(UPLOADS, headers=TUS | {"Upload-Length": "9", "Upload-Metadata": header})
    assert answer.status_code == 400
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    "pairs",
    [{"visibility": "secret"}, {"tags": "x" * 101}, {"album": "x" * 201}, {"session": "mine"}],
)
def test_what_cannot_go_into_a_record_is_refused_at_once(ann, pairs):
    assert begin(ann, **pairs).status_code == 400
    assert not Upload.objects.exists()


def test_nobody_sees_anothers_uploads(ann):
    address = begin(ann, part=CONTENT[:100])["Location"]
    session = ann.post(SESSIONS, {}, content_type="application/json").json()["id"]
    bob = as_user("bob")
    for client, status in ((bob, 404), (Client(), 401)):
        assert client.head(address, headers=TUS).status_code == status
        assert client.get(address).status_code == status
        assert patch(client, address, 100, CONTENT[100:]).status_code == status
        assert client.delete(address, headers=TUS).status_code == status
        assert begin(client, session=session).status_code == status
        assert client.get(f"{SESSIONS}/{session}").status_code == status
    assert offset_of(ann, address) == 100
    assert ann.head(f"{UPLOADS}/{uuid.uuid4()}", headers=TUS).status_code == 404


def test_a_request_from_elsewhere_is_refused():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    assert begin(client).status_code == 403
    assert not Upload.objects.exists()


# Limits


def test_one_user_cannot_begin_without_end(ann, settings):
    settings.UPLOAD_UNFINISHED_FILES = 2
    for _ in range(2):
        assert begin(ann).status_code == 201
    answer = begin(ann)
    assert answer.status_code == 429
    assert "2 unfinished uploads" in answer.json()["detail"]
    assert begin(as_user("bob")).status_code == 201
    Upload.objects.first().delete()
    assert begin(ann).status_code == 201


def test_one_user_cannot_fill_the_disk_with_beginnings(ann, settings):
    settings.UPLOAD_UNFINISHED_BYTES = 2 * len(CONTENT)
    assert begin(ann).status_code == 201
    assert begin(ann, part=picture(2)).status_code == 201  # this one is finished
    assert begin(ann).status_code == 201
    answer = begin(ann)
    assert answer.status_code == 429
    assert "unfinished uploads would have" in answer.json()["detail"]


def test_what_nobody_goes_on_with_is_removed(ann, settings):
    address = begin(ann, part=CONTENT[:100])["Location"]
    fresh = begin(ann, part=CONTENT[:200])["Location"]
    old = timezone.now() - timedelta(seconds=1)
    Upload.objects.filter(uuid=address.rpartition("/")[2]).update(expires_at=old)
    assert tend_uploads() == 1
    assert ann.head(address, headers=TUS).status_code == 410
    assert patch(ann, address, 100, CONTENT[100:]).status_code == 410
    assert offset_of(ann, fresh) == 200
    assert len(part_files(settings)) == 1


def test_what_others_have_begun_counts_as_if_it_were_there(settings, tmp_path):
    free = shutil.disk_usage(tmp_path).free
    settings.MAX_IMAGE_BYTES = settings.UPLOAD_UNFINISHED_BYTES = free
    settings.UPLOAD_FREE_BYTES = 0
    begun = receiving.begin(make_user("ann"), NewUpload(size=free * 6 // 10))
    with pytest.raises(StorageUnavailable, match="nearly full"):
        receiving.begin(make_user("bob"), NewUpload(size=free * 6 // 10))
    receiving.cancel(begun)
    receiving.begin(make_user("bob"), NewUpload(size=free * 6 // 10))


def test_a_part_puts_the_end_off(ann):
    address = begin(ann, part=CONTENT[:100])["Location"]
    Upload.objects.update(expires_at=timezone.now())
    patch(ann, address, 100, CONTENT[100:200])
    assert tend_uploads() == 0
    assert "Upload-Expires" in ann.head(address, headers=TUS)


def test_old_sessions_and_files_that_nobody_names_are_removed(ann, settings):
    session = ann.post(SESSIONS, {}, content_type="application/json").json()["id"]
    begin(ann, part=CONTENT, session=session)
    parts.write(uuid.uuid4(), 0, b"left behind")
    settings.UPLOAD_KEEP_HOURS = 0
    long_ago = timezone.now() - timedelta(days=31)
    Upload.objects.update(changed_at=long_ago)
    UploadSession.objects.update(created_at=long_ago)
    tend_uploads()
    assert not Upload.objects.exists()
    assert not UploadSession.objects.exists()
    assert part_files(settings) == []
    assert Image.objects.count() == 1


def test_a_session_is_forgotten_as_a_whole(ann):
    session = ann.post(SESSIONS, {"files": 2}, content_type="application/json").json()["id"]
    begin(ann, part=CONTENT, session=session)
    begin(ann, picture(2), part=picture(2), session=session)
    begin(ann, picture(3), part=picture(3))  # in none
    long_ago = timezone.now() - timedelta(days=31)
    UploadSession.objects.update(created_at=long_ago)
    first, _, alone = Upload.objects.order_by("pk")
    Upload.objects.filter(pk__in=(first.pk, alone.pk)).update(changed_at=long_ago)
    tend_uploads()
    record = ann.get(f"{SESSIONS}/{session}").json()
    assert (record["new"], record["unsent"]) == (2, 0)
    assert not Upload.objects.filter(pk=alone.pk).exists()
    Upload.objects.update(changed_at=long_ago)
    tend_uploads()
    assert not Upload.objects.exists()
    assert not UploadSession.objects.exists()
    assert Image.objects.count() == 3


# Processes die


class DyingBody(io.BytesIO):
    """A connection that breaks after so many bytes."""

    def __init__(self, content: bytes, breaks_after: int) -> None:
        super().__init__(content[:breaks_after])


def upload_of(address) -> Upload:
    return Upload.objects.get(uuid=address.rpartition("/")[2])


def test_what_came_before_the_connection_broke_is_kept(ann):
    content = b"x" * (3 * receiving.PIECE_BYTES)
    address = begin(ann, content)["Location"]
    upload, arrived = upload_of(address), receiving.PIECE_BYTES + 7
    receiving.receive(upload, DyingBody(content, arrived), offset=0, length=len(content))
    assert offset_of(ann, address) == arrived


def test_bytes_of_an_attempt_that_died_are_written_over(ann):
    address = begin(ann, part=CONTENT[:100])["Location"]
    # Written, but not acknowledged: the process died in between.
    parts.write(upload_of(address).uuid, 100, b"rubbish" * 1000)
    assert patch(ann, address, 100, CONTENT[100:]).status_code == 204
    with default_storage.open(Image.objects.get().file.name) as file:
        assert file.read() == CONTENT


def test_a_lost_file_is_never_completed_with_a_hole(ann, settings):
    address = begin(ann, part=CONTENT[:100])["Location"]
    part_files(settings)[0].unlink()
    answer = patch(ann, address, 100, CONTENT[100:])
    assert answer.status_code == 410
    assert "Send it again" in answer.json()["detail"]
    assert not Image.objects.exists()
    assert offset_of(ann, address) == 0
    assert patch(ann, address, 0, CONTENT).status_code == 204
    assert Image.objects.exists()


def test_more_tags_than_an_image_may_have_are_kept_as_metadata(ann):
    about = {"tags": [f"tag {n}" for n in range(45)]}
    session = ann.post(SESSIONS, about, content_type="application/json").json()
    tags = ",".join(f"own {n}" for n in range(6))
    begin(ann, part=CONTENT, filename="a.png", tags=tags, session=session["id"])
    image = Image.objects.get()
    assert image.tags.count() == 50
    assert image.metadata["more_tags"] == ["own 5"]


def test_the_metadata_are_given_back_as_they_came(ann):
    address = begin(ann, part=CONTENT[:100], filename="a b.png", caption="Ü")["Location"]
    given = ann.head(address, headers=TUS)["Upload-Metadata"]
    assert given == metadata(filename="a b.png", caption="Ü")
    without = ann.post(UPLOADS, content_type=PART, headers=TUS | {"Upload-Length": "9"})
    assert "Upload-Metadata" not in ann.head(without["Location"], headers=TUS)


def test_no_upload_is_begun_on_a_disk_that_is_nearly_full(ann, settings):
    settings.UPLOAD_FREE_BYTES = 2**62
    answer = begin(ann, part=CONTENT, filename="a.png")
    assert answer.status_code == 503
    assert "nearly full" in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_a_note_that_fails_does_not_undo_the_image(ann, monkeypatch):
    def fail(added):
        raise ZeroDivisionError

    monkeypatch.setattr(finishing.likeness, "note_of", fail)
    with pytest.raises(ZeroDivisionError):
        begin(ann, part=CONTENT, filename="a.png")
    assert Upload.objects.get().image == Image.objects.get()


def test_a_file_is_known_by_its_path_only_in_its_session(ann):
    first, second = (
        ann.post(SESSIONS, {}, content_type="application/json").json()["id"] for _ in range(2)
    )
    said = {"relativePath": "a.png", "lastModified": "17", "session": first}
    begin(ann, part=CONTENT, **said)
    file = {"path": "a.png", "bytes": len(CONTENT), "modified": "17"}

    def known_in(session):
        asked = {"files": [file], "session": session}
        return ann.post(f"{UPLOADS}/known", asked, content_type="application/json").json()

    assert known_in(first)[0]["state"] == "new"
    assert known_in(second) == [None]
    assert known(ann, file).json() == [None]


def test_a_second_sender_of_the_same_part_is_turned_away(ann):
    address = begin(ann, part=CONTENT[:100])["Location"]
    first, second = upload_of(address), upload_of(address)  # both read the offset at once
    receiving.receive(first, io.BytesIO(CONTENT[100:200]), offset=100, length=100)
    with pytest.raises(UploadConflict):
        receiving.receive(second, io.BytesIO(b"y" * 100), offset=100, length=100)
    assert patch(ann, address, 200, CONTENT[200:]).status_code == 204
    with default_storage.open(Image.objects.get().file.name) as file:
        assert file.read() == CONTENT


def complete(client, content=CONTENT, **pairs) -> Upload:
    """Return an upload whose every byte is here, but whose process died before the image."""
    upload = upload_of(begin(client, content, part=content[:-1], **pairs)["Location"])
    receiving.receive(upload, io.BytesIO(content[-1:]), offset=len(content) - 1, length=1)
    return upload


def test_pressing_twice_makes_one_image(ann):
    upload = complete(ann)
    address = f"{UPLOADS}/{upload.uuid}"
    answers = [patch(ann, address, len(CONTENT), b"") for _ in range(2)]
    image = Image.objects.get()
    assert [answer["Upload-Image"] for answer in answers] == [image.get_absolute_url()] * 2
    assert [answer["Upload-State"] for answer in answers] == ["new", "new"]
    stale = Upload.objects.get(pk=upload.pk)
    finishing.finish(stale)
    assert Image.objects.count() == 1


@pytest.mark.parametrize("ago", [timedelta(minutes=5), -timedelta(hours=1)])
def test_the_worker_finishes_what_its_request_left_behind(ann, ago):
    upload = complete(ann, caption="A boat")
    assert tend_uploads() == 0  # the request may still be at it
    Upload.objects.update(changed_at=timezone.now() - ago)  # or the clock was set back
    assert tend_uploads() == 1
    assert Image.objects.get().caption == "A boat"
    assert Upload.objects.get(pk=upload.pk).state == UploadState.NEW


def test_the_worker_goes_on_at_the_next_tick_after_half_a_minute(ann, monkeypatch):
    for seed in (1, 2):
        complete(ann, picture(seed))
    Upload.objects.update(changed_at=timezone.now() - timedelta(minutes=5))
    monkeypatch.setattr(finishing, "TENDED_SECONDS", 0.0)
    assert [tend_uploads() for _ in range(3)] == [1, 1, 0]


def test_what_cannot_be_stored_keeps_no_other_waiting(ann, monkeypatch):
    first, _ = (complete(ann, picture(seed)) for seed in (1, 2))
    Upload.objects.update(changed_at=timezone.now() - timedelta(minutes=5))
    path = parts.path_of(first.uuid)
    path.unlink()
    path.mkdir()  # it cannot be read
    monkeypatch.setattr(finishing, "TENDED_SECONDS", 0.0)
    assert [tend_uploads() for _ in range(3)] == [0, 1, 0]
    first.refresh_from_db()
    assert (first.state, first.attempts) == (UploadState.ARRIVING, 0)


def test_uploads_are_finished_where_no_new_image_waits(settings):
    route = app.amqp.router.route({}, tend_uploads.name)
    assert route["queue"].name == settings.UPKEEP_QUEUE


def test_nothing_is_stored_of_what_is_cancelled_while_the_server_works_on_it(ann, monkeypatch):
    open_whole = parts.open_whole

    def cancelled_when_open(id_, size):
        file = open_whole(id_, size)
        receiving.cancel(Upload.objects.get())
        return file

    monkeypatch.setattr(parts, "open_whole", cancelled_when_open)
    with pytest.raises(UploadMissing, match="was cancelled"):
        finishing.finish(complete(ann))
    upload = complete(ann)
    assert patch(ann, f"{UPLOADS}/{upload.uuid}", len(CONTENT), b"").status_code == 404
    complete(ann)
    Upload.objects.update(changed_at=timezone.now() - timedelta(minutes=5))
    assert tend_uploads() == 0
    assert not Upload.objects.exists()
    assert not Image.objects.exists()


def test_a_file_that_kills_its_process_is_refused_in_the_end(ann):
    upload = complete(ann)
    Upload.objects.update(attempts=finishing.MAX_ATTEMPTS)
    finishing.finish(upload)
    assert upload.state == UploadState.REFUSED
    assert "broke off each time" in upload.reason


def test_a_storage_that_is_down_costs_no_try(ann, settings):
    upload = complete(ann)
    settings.MEDIA_ROOT.parent.joinpath("media").write_text("a file where a folder should be")
    for _ in range(finishing.MAX_ATTEMPTS + 1):
        answer = patch(ann, f"{UPLOADS}/{upload.uuid}", len(CONTENT), b"")
        assert answer.status_code == 503
    settings.MEDIA_ROOT.parent.joinpath("media").unlink()
    assert patch(ann, f"{UPLOADS}/{upload.uuid}", len(CONTENT), b"").status_code == 204


def test_a_full_disk_is_said_so(ann, settings):
    settings.UPLOAD_DIR.parent.joinpath("uploads").write_text("a file where a folder should be")
    answer = begin(ann, part=CONTENT)
    assert answer.status_code == 503
    assert "cannot be kept" in answer.json()["detail"]


def test_errors_of_uploads_are_all_sentences_of_the_api():
    from gallery.api.errors import STATUS_BY_ERROR

    assert set(UploadError.__subclasses__()) <= STATUS_BY_ERROR.keys()
    assert StorageUnavailable in STATUS_BY_ERROR


# Sessions


def send_session(client, **said):
    return client.post(SESSIONS, said, content_type="application/json")


def test_a_session_says_something_of_all_its_files(ann):
    session = send_session(ann, caption="Summer", tags=["sea"], album="Norway", files=2).json()
    begin(ann, part=CONTENT, session=session["id"], tags="red", caption="A boat")
    begin(ann, picture(2), part=picture(2), session=session["id"])
    boat, other = Image.objects.order_by("pk")
    assert (boat.caption, other.caption) == ("A boat", "Summer")
    assert [tag.name for tag in boat.tags.all()] == ["red", "sea"]
    assert {boat.album.name, other.album.name} == {"Norway"}


@pytest.mark.parametrize(
    ("use", "album", "tags"),
    [("", None, []), ("album", "Bergen", []), ("tags", None, ["bergen", "norway"])],
)
def test_folders_become_what_was_asked(ann, use, album, tags):
    session = send_session(ann, folders=use).json()
    begin(ann, part=CONTENT, session=session["id"], relativePath="Norway/Bergen/boat.png")
    image = Image.objects.get()
    assert (image.album.name if image.album else None) == album
    assert [tag.name for tag in image.tags.all()] == tags


def test_a_session_knows_where_its_files_stand(ann):
    session = send_session(ann, files=6).json()
    id_ = session["id"]
    begin(ann, part=CONTENT, session=id_)
    begin(ann, part=CONTENT, session=id_)
    begin(ann, b"no image", part=b"no image", session=id_)
    begin(ann, picture(3), part=picture(3)[:10], session=id_)
    record = ann.get(f"{SESSIONS}/{id_}").json()
    numbers = {key: value for key, value in record.items() if key not in {"id", "url"}}
    assert numbers == {
        "expected": 6, "unsent": 2, "arriving": 1, "new": 1, "held": 1, "refused": 1, "alike": 0,
        "expired": 0, "waiting": 2, "ready": 0, "failed": 0,
    }  # fmt: skip
    more = ann.patch(f"{SESSIONS}/{id_}", {"files": 10}, content_type="application/json").json()
    assert (more["expected"], more["unsent"]) == (14, 10)


def end_too_large(client, settings, **said):
    settings.MAX_IMAGE_BYTES = 10
    assert begin(client, **said).status_code == 413
    settings.MAX_IMAGE_BYTES = 10**6


def end_refused(client, settings, **said):
    wrong = bytes(len(CONTENT))
    assert begin(client, wrong, part=wrong, **said).status_code == 422


def end_late(client, settings, **said):
    begin(client, part=CONTENT[:100], **said)
    Upload.objects.filter(received=100).update(expires_at=timezone.now() - timedelta(hours=1))
    tend_uploads()


@pytest.mark.parametrize("fail", [end_too_large, end_refused, end_late])
def test_a_file_that_failed_and_is_sent_anew_counts_once(ann, settings, fail):
    session, other = (send_session(ann, files=1).json()["id"] for _ in range(2))
    said = {"relativePath": "boat.png", "lastModified": "17"}
    fail(ann, settings, session=other, **said)
    fail(ann, settings, session=session, **said)
    fail(ann, settings, session=session, **said)
    record = ann.get(f"{SESSIONS}/{session}").json()
    assert (record["refused"] + record["expired"], record["unsent"]) == (1, 0)
    assert begin(ann, part=CONTENT, session=session, **said).status_code == 201
    record = ann.get(f"{SESSIONS}/{session}").json()
    assert (record["new"], record["refused"] + record["expired"]) == (1, 0)
    # What was stored stays, and so does what another session says.
    begin(ann, part=CONTENT, session=session, **said)
    assert ann.get(f"{SESSIONS}/{session}").json()["held"] == 1
    record = ann.get(f"{SESSIONS}/{other}").json()
    assert record["refused"] + record["expired"] == 1


def known(client, *files):
    return client.post(f"{UPLOADS}/known", {"files": files}, content_type="application/json")


def test_a_file_that_was_sent_before_is_known_again(ann):
    said = {"relativePath": "Norway/../boat.png", "lastModified": "1700000000000"}
    file = {"path": "Norway/../boat.png", "bytes": len(CONTENT), "modified": "1700000000000"}
    assert known(ann, file).json() == [None]
    begin(ann, part=CONTENT[:100], **said)
    (partial,) = known(ann, file).json()
    assert (partial["state"], partial["received"]) == ("arriving", 100)
    patch(ann, f"{UPLOADS}/{partial['id']}", 100, CONTENT[100:])
    changed = [file | {"bytes": 7}, file | {"modified": "1"}, file | {"path": "other.png"}]
    stored, *others = known(ann, file, *changed).json()
    assert stored["image"] == str(Image.objects.get().uuid)
    assert others == [None] * 3
    assert known(as_user("bob"), file).json() == [None]
    Image.objects.all().delete()
    assert known(ann, file).json() == [None]


def test_many_files_are_asked_for_in_as_many_statements_as_one(ann):
    like = stored(99)
    files = []
    for seed in range(5):
        content = picture(seed)
        begin(ann, content, part=content, relativePath=f"{seed}.png", lastModified="17")
        files.append({"path": f"{seed}.png", "bytes": len(content), "modified": "17"})
    Upload.objects.update(like=like)
    statements = []
    for asked in (files[:1], files):
        with CaptureQueriesContext(connection) as captured:
            assert {one["like"] for one in known(ann, *asked).json()} == {str(like.uuid)}
        statements.append(len(captured))
    assert statements[0] == statements[1]


def test_asking_for_too_much_or_rubbish_gets_a_sentence(ann):
    file = {"path": "x\x00", "bytes": 1, "modified": "\x00"}
    assert known(ann, file).json() == [None]
    assert known(ann, *[file] * 1001).status_code == 400
    assert known(ann, file | {"bytes": -1}).status_code == 400
    assert known(ann, file | {"path": "\ud800"}).status_code == 400
