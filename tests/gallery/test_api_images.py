from __future__ import annotations

import hashlib
import json
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from gallery.api import api
from gallery.models import Image, Tag
from tests.gallery.duplicates import pictures
from tests.gallery.uploads import as_user, picture, png, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db

IMAGES = "/api/v1/images"


def no_image(name="notes.txt"):
    return SimpleUploadedFile(name, b"no image at all", "image/png")


def patch(client, image, **changes):
    return client.patch(f"{IMAGES}/{image.uuid}", json.dumps(changes), "application/json")


# Adding


def test_an_image_is_stored_and_told():
    answer = as_user().post(IMAGES, {"file": png()})
    assert answer.status_code == 201
    image = Image.objects.get()
    assert answer.json() == [
        {
            "id": str(image.uuid),
            "sha256": hashlib.sha256(picture()).hexdigest(),
            "is_new": True,
            "state": "waiting",
            "duplicates": [],
            "video": None,
        }
    ]
    assert image.owner == make_user("ann")
    assert image.original_name == "boat.png"


def test_what_is_said_of_an_image_is_stored():
    form = {
        "file": png(),
        "caption": "Two boats",
        "tags": ["Sea, Night", "red"],
        "album": "Harbour",
        "metadata": '{"camera": {"iso": 200}}',
        "visibility": "private",
    }
    client = as_user()
    record = client.get(f"{IMAGES}/{client.post(IMAGES, form).json()[0]['id']}").json()
    assert record["caption"] == "Two boats"
    assert record["tags"] == ["night", "red", "sea"]
    assert record["album"] == "Harbour"
    assert record["metadata"] == {"camera": {"iso": 200}}
    assert record["visibility"] == "private"


def test_several_images_come_back_in_their_order():
    files = [png(seed, f"{seed}.png") for seed in range(3)]
    answer = as_user().post(IMAGES, {"file": files})
    assert answer.status_code == 201
    expected = [hashlib.sha256(picture(seed)).hexdigest() for seed in range(3)]
    assert [entry["sha256"] for entry in answer.json()] == expected


def test_the_same_bytes_give_the_same_image():
    client = as_user()
    first = client.post(IMAGES, {"file": png()}).json()[0]
    answer = client.post(IMAGES, {"file": png(name="again.png")})
    assert answer.status_code == 201
    assert answer.json() == [{**first, "is_new": False}]
    assert Image.objects.count() == 1


def test_a_file_that_is_no_image_is_refused():
    answer = as_user().post(IMAGES, {"file": no_image()})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("The file is not an image")
    assert not Image.objects.exists()


def test_a_refused_file_among_others_is_told_and_the_others_stay():
    answer = as_user().post(IMAGES, {"file": [png(1), no_image(), png(2)]})
    assert answer.status_code == 207
    first, refused, last = answer.json()
    assert first["is_new"]
    assert last["is_new"]
    assert refused["file_name"] == "notes.txt"
    assert refused["error"].startswith("The file is not an image")
    assert Image.objects.count() == 2


def test_when_all_files_are_refused_the_request_is():
    answer = as_user().post(IMAGES, {"file": [no_image("a.txt"), no_image("b.txt")]})
    assert answer.status_code == 422
    assert "a.txt: The file" in answer.json()["detail"]
    assert "b.txt: The file" in answer.json()["detail"]
    assert [one["file_name"] for one in answer.json()["refused"]] == ["a.txt", "b.txt"]


def test_an_image_that_is_refused_for_another_names_that():
    held = pictures.stored(pictures.encoded(pictures.scene(1), "PNG"))
    same = SimpleUploadedFile("same.bmp", pictures.encoded(pictures.scene(1), "BMP"))
    answer = as_user().post(IMAGES, {"file": same, "duplicates": "refuse"})
    assert answer.status_code == 422
    assert [one["like"] for one in answer.json()["refused"]] == [str(held.uuid)]


def test_a_request_without_a_file_is_told_so():
    answer = as_user().post(IMAGES, {"caption": "nothing"})
    assert answer.status_code == 400
    assert answer.json() == {"detail": "file is missing."}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata", "{"),
        ("metadata", "[1]"),
        ("metadata", '{"a": NaN}'),
        ("metadata", '{"a": 1e999}'),
        ("metadata", '{"a": "\\u0000"}'),
        ("metadata", '{"a": "\\ud800"}'),
        ("metadata", '{"a":' * 5000 + "1" + "}" * 5000),
        ("metadata", '{"a": "%s"}' % ("a" * 100_001)),
        ("caption", "a" * 10_001),
        ("caption", "a\x00b"),
        ("tags", "a" * 101),
        ("tags", ",".join(str(n) for n in range(51))),
        ("album", "a" * 201),
        ("visibility", "secret"),
    ],
)
def test_a_field_that_cannot_be_stored_is_named(name, value):
    answer = as_user().post(IMAGES, {"file": png(), name: value})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{name} is wrong: ")
    assert len(answer.json()["detail"]) < 300
    assert not Image.objects.exists()


def test_a_request_larger_than_the_limit_is_refused_before_it_is_read(settings):
    settings.MAX_IMAGE_BYTES = settings.VIDEO_MAX_BYTES = 10
    answer = as_user().post(IMAGES, {"file": SimpleUploadedFile("a.png", b"a" * 2_000_000)})
    assert answer.status_code == 413
    assert answer.json()["detail"] == "A request here has at most 1 MB."


def test_a_request_may_be_as_large_as_the_largest_video(settings):
    settings.MAX_IMAGE_BYTES = 10
    settings.VIDEO_MAX_BYTES = 2_000_000
    answer = as_user().post(IMAGES, {"file": SimpleUploadedFile("a.mp4", b"a" * 2_000_000)})
    assert answer.status_code == 422


def test_too_many_files_are_refused(settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    answer = as_user().post(IMAGES, {"file": [png(n) for n in range(3)]})
    assert answer.status_code == 400
    assert answer.json() == {"detail": "The request has too many files or fields."}


def test_a_broken_form_is_refused():
    answer = as_user().generic(
        "POST", IMAGES, b"--x\r\nnot a form", content_type="multipart/form-data; boundary="
    )
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")


# Reading


def test_a_record_tells_all():
    image = stored(caption="A boat", tags=("sea",), captions=(("coco", "A ship"),))
    record = as_user().get(f"{IMAGES}/{image.uuid}").json()
    assert record["id"] == str(image.uuid)
    assert record["captions"] == [{"text": "A ship", "source": "coco"}]
    assert record["owner"] == "ann"
    assert (record["width"], record["height"]) == (32, 24)
    assert record["url"] == f"/images/{image.uuid}"
    assert record["thumbnail_url"] == f"/images/{image.uuid}/thumbnail/256.webp"
    assert record["colours"][0].keys() == {"hex", "share"}


@pytest.mark.parametrize(
    ("name", "is_told"), [("ann", True), ("root", True), ("bob", False), (None, False)]
)
def test_where_it_was_taken_is_told_to_its_owner_alone(name, is_told):
    image = stored()
    Image.objects.update(latitude=48.2, longitude=16.4)
    client = as_user(name, is_superuser=name == "root") if name else Client()
    record = client.get(f"{IMAGES}/{image.uuid}").json()
    assert (record["latitude"], record["longitude"]) == ((48.2, 16.4) if is_told else (None, None))


def test_a_visitor_does_not_learn_user_names(client):
    assert client.get(f"{IMAGES}/{stored().uuid}").json()["owner"] is None


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("which", ["private", "unknown"])
def test_anothers_private_image_is_not_there(method, which):
    image = stored(visibility="private")
    address = f"{IMAGES}/{image.uuid if which == 'private' else uuid.uuid4()}"
    answer = as_user("bob").generic(method, address, "{}", "application/json")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is nothing of this id here, or you may not see it."}


def test_a_list_is_newest_first_and_goes_on_where_it_ended():
    images = [stored(seed) for seed in range(5)]
    client = as_user()
    seen, after = [], ""
    for expected in (2, 2, 1):
        answer = client.get(IMAGES, {"k": 2, "after": after}).json()
        assert len(answer["images"]) == expected
        seen += [image["id"] for image in answer["images"]]
        after = answer["next"]
    assert after is None
    assert seen == [str(image.uuid) for image in reversed(images)]


def test_a_list_of_images_added_at_once_repeats_and_skips_none():
    images = [stored(seed) for seed in range(5)]
    Image.objects.update(added_at=images[0].added_at)
    seen, after = set(), ""
    while after is not None:
        answer = as_user().get(IMAGES, {"k": 2, "after": after}).json()
        seen |= {image["id"] for image in answer["images"]}
        after = answer["next"]
    assert len(seen) == 5


def test_a_list_is_filtered():
    wanted = stored(1, tags=("sea", "red"), album="Harbour")
    stored(2, tags=("sea",))
    stored(3, tags=("red",))
    answer = as_user().get(IMAGES, {"tag": ["sea", "red"], "album": "Harbour"})
    assert [image["id"] for image in answer.json()["images"]] == [str(wanted.uuid)]


def test_a_list_of_many_images_asks_few_queries(django_assert_max_num_queries):
    for seed in range(10):
        stored(seed, tags=("sea",), album="Harbour")
    with django_assert_max_num_queries(4):
        Client().get(IMAGES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", "0"),
        ("k", "201"),
        ("k", "abc"),
        ("k", "9" * 5000),
        ("after", "x"),
        ("after", f"{10**30}.{uuid.UUID(int=7).hex}"),
        ("after", "1.\x00"),
        ("tag", "a\x00b"),
        ("album", "a\x00b"),
        ("taken_after", "yesterday"),
        ("taken_after", "0"),
        ("taken_before", "2024-02-30"),
        ("visibility", "x"),
    ],
)
def test_a_list_says_which_field_is_wrong(client, name, value):
    answer = client.get(IMAGES, {name: value})
    assert answer.status_code == 400
    assert name in answer.json()["detail"]


# Changing


def test_the_owner_changes_what_is_said():
    image = stored(caption="old", tags=("old", "sea"), album="Old")
    answer = patch(
        as_user(), image, caption="new", tags=["sea", "New"], album="Harbour",
        visibility="private", metadata={"a": 1},
    )  # fmt: skip
    assert answer.status_code == 200
    record = answer.json()
    assert record["caption"] == "new"
    assert record["tags"] == ["new", "sea"]
    assert record["album"] == "Harbour"
    assert record["visibility"] == "private"
    assert record["metadata"] == {"a": 1}
    assert record["changed_at"] > image.changed_at.isoformat()


def test_an_album_is_found_by_the_name_that_was_sent():
    image = stored()
    client = as_user()
    for name in ("Summer  2024", "Cafe\u0301", "Sea\u200b side"):
        patch(client, image, album=name)
        found = client.get(IMAGES, {"album": name}).json()["images"]
        assert [one["id"] for one in found] == [str(image.uuid)]


def test_what_is_not_sent_stays():
    image = stored(caption="old", tags=("sea",), album="Harbour", metadata={"a": 1})
    client = as_user()
    before = client.get(f"{IMAGES}/{image.uuid}").json()
    after = patch(client, image, caption="new").json()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"caption", "changed_at"}


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_image_is_taken_out_of_its_album(nothing):
    image = stored(album="Harbour")
    assert patch(as_user(), image, album=nothing).json()["album"] is None


def test_a_changed_caption_is_found_by_its_words():
    image = stored(caption="boat")
    patch(as_user(), image, caption="lighthouse")
    assert Image.objects.filter(full_text="lighthouse").exists()


def test_only_the_owner_changes_a_public_image():
    image = stored(caption="old")
    answer = patch(as_user("bob"), image, caption="new")
    assert answer.status_code == 403
    assert answer.json() == {"detail": "Only its owner may change this image."}
    assert patch(as_user("root", is_superuser=True), image, caption="new").status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("caption", None),
        ("caption", "a\x00b"),
        ("caption", "a\ud800"),
        ("caption", 5),
        ("tags", [5]),
        ("tags", {"a": 1}),
        ("visibility", "secret"),
        ("metadata", [1]),
        ("metadata", {"a\x00": 1}),
        ("metadata", {"a": {"b": ["\ud800"]}}),
        ("owner", "bob"),
        ("state", "ready"),
    ],
)
def test_a_change_that_cannot_be_made_is_named(name, value):
    image = stored(caption="old")
    answer = patch(as_user(), image, **{name: value})
    assert answer.status_code == 400
    assert name in answer.json()["detail"]
    assert Image.objects.get().caption == "old"


@pytest.mark.parametrize("body", ["", "{", "[]", "5", "null", "[" * 100_000, b"\xff"])
def test_a_change_that_is_no_json_object_is_refused(body):
    answer = as_user().patch(f"{IMAGES}/{stored().uuid}", body, "application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")


def test_a_body_larger_than_django_takes_is_refused(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = patch(as_user(), stored(), caption="a" * 1001)
    assert answer.status_code == 413
    assert answer.json() == {"detail": "The request is too large."}


# Deleting


@pytest.mark.parametrize("name", ["ann", "root"])
def test_the_owner_and_a_superuser_delete(name, django_capture_on_commit_callbacks):
    image = stored(tags=("sea",))
    with django_capture_on_commit_callbacks(execute=True):
        answer = as_user(name, is_superuser=name == "root").delete(f"{IMAGES}/{image.uuid}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not Image.objects.exists()
    assert not image.file.storage.exists(image.file.name)
    assert Tag.objects.exists()


def test_nobody_else_deletes_a_public_image():
    image = stored()
    assert as_user("bob").delete(f"{IMAGES}/{image.uuid}").status_code == 403
    assert Image.objects.exists()


# Addresses


@pytest.mark.parametrize(
    "address", ["/api/v1/nothing", "/api/v1/images/not-an-id", "/api/v1/images/"]
)
def test_an_unknown_address_is_told_in_json(client, address):
    answer = client.get(address)
    assert answer.status_code == 404
    assert answer.json()["detail"].endswith(".")


def test_a_method_that_an_address_does_not_take_is_told_in_json(client):
    answer = client.put(IMAGES)
    assert answer.status_code == 405
    assert answer.json() == {"detail": "This address does not take PUT."}
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}


def test_a_failure_of_ours_is_told_without_its_details(rf, caplog):
    answer = api.on_exception(rf.get(IMAGES), RuntimeError("the password is x"))
    assert answer.status_code == 500
    assert (
        json.loads(answer.content)["detail"]
        == "Something failed on the server; its log tells what."
    )
    assert "the password is x" in caplog.text


def test_the_documents_of_the_api_load_nothing_from_elsewhere(client):
    page = client.get("/api/v1/docs").content.decode()
    assert "https://" not in page
    assert client.get("/api/v1/openapi.json").json()["info"]["title"] == "Semblance"
