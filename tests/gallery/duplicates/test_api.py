from __future__ import annotations

import hashlib
import io
from functools import partial

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from gallery import duplicates, originals
from gallery.digests import Digests
from gallery.duplicates import grouping, likeness, waiting
from gallery.errors import ImageRefused
from gallery.ingest import NewImage, add_image
from gallery.models import DuplicateGroup, DuplicateKind, DuplicatePair, Image, OnDuplicates
from gallery.storage.originals import Original
from tests.gallery.duplicates.pictures import encoded, mirrored, scene, stored
from tests.gallery.uploads import as_user
from tests.rows import make_images, make_user

pytestmark = pytest.mark.django_db


def sent(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("sent.jpg", content, "image/jpeg")


def check(client, **fields):
    return client.post("/api/v1/duplicates/check", fields)


def test_a_program_learns_which_files_are_there_before_it_sends_them():
    content = encoded(scene(1))
    image = stored(content)
    there, missing = hashlib.sha256(content).hexdigest(), "0" * 64
    answer = check(as_user(), sha256=[there, missing]).json()
    assert answer["held"] == [
        {"sha256": there, "id": str(image.uuid)},
        {"sha256": missing, "id": None},
    ]


def test_a_file_is_told_by_bytes_by_pixels_and_by_looks():
    image = stored(encoded(scene(1), "PNG"))
    for content, kinds in (
        (encoded(scene(1), "PNG"), ["bytes"]),
        (encoded(scene(1), "BMP"), ["pixels"]),
        (encoded(scene(1), quality=60), ["near"]),
        (encoded(mirrored(scene(1))), []),
        (encoded(scene(2)), []),
    ):
        found = check(as_user(), file=sent(content)).json()["duplicates"]
        assert [one["kind"] for one in found] == kinds
        assert all(one["id"] == str(image.uuid) for one in found)
    assert Image.objects.count() == 1


def test_nobody_is_told_of_another_owners_images():
    content = encoded(scene(1))
    stored(content, "bob", visibility="private")
    stored(encoded(scene(1), "PNG"), "bob", visibility="public")
    answer = check(
        as_user("ann"), sha256=[hashlib.sha256(content).hexdigest()], file=sent(content)
    ).json()
    assert answer["held"][0]["id"] is None
    assert answer["duplicates"] == []


def test_a_wrong_question_is_answered_with_a_sentence(client):
    assert check(client).status_code == 401
    assert "sha256" in check(as_user(), sha256=["abc"]).json()["detail"]
    assert check(as_user(), sha256=["0" * 64] * 1001).status_code == 400
    refused = check(as_user(), file=sent(b"no image"))
    assert refused.status_code == 422
    assert "not an image" in refused.json()["detail"]


def test_groups_are_listed_and_decided_about():
    for kind in ("PNG", "BMP"):
        stored(encoded(scene(1), kind))
    waiting.compare_waiting()
    ann = as_user()
    listed = ann.get("/api/v1/duplicates").json()
    (group,) = listed["groups"]
    assert (listed["total"], listed["next"], group["kind"]) == (1, None, "pixels")
    ids = [image["id"] for image in group["images"]]
    fields = {"decision": "replace", "main": ids[0], "others": ids[1:], "seen": ids}
    address = f"/api/v1/duplicates/{group['id']}"
    stranger = as_user("bob").post(address, fields, content_type="application/json")
    assert stranger.status_code == 409
    assert ann.post(address, fields, content_type="application/json").json() == {"count": 1}
    late = ann.post(address, fields, content_type="application/json")
    assert late.status_code == 409
    assert "has changed" in late.json()["detail"]
    assert Image.objects.count() == 1


def test_while_the_storage_is_away_replacing_is_put_off(tmp_path):
    images = [stored(encoded(scene(1), kind)) for kind in ("PNG", "BMP")]
    waiting.compare_waiting()
    originals.refer(images[0], Original(address=str(tmp_path / "away"), key="1.png", version="1:1"))
    ids = [str(image.uuid) for image in images]
    answer = as_user().post(
        f"/api/v1/duplicates/{DuplicateGroup.objects.get().pk}",
        {"decision": "replace", "main": ids[0], "others": ids[1:], "seen": ids},
        content_type="application/json",
    )
    assert answer.status_code == 503
    assert "try again later" in answer.json()["detail"]
    assert Image.objects.count() == 2


refuse = partial(duplicates.check, wanted=OnDuplicates.REFUSE)


def test_an_upload_can_refuse_the_same_pixels_and_stores_nothing_of_them(settings):
    held = stored(encoded(scene(1), "PNG"))
    new = NewImage(file=io.BytesIO(encoded(scene(1), "BMP")), owner=make_user())
    with pytest.raises(ImageRefused, match="same pixels"):
        add_image(new, note=refuse)
    assert Image.objects.get() == held
    files = [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]
    assert len(files) == 3


def test_a_large_image_is_refused_only_if_every_pixel_is_the_same():
    large = scene(1).resize((2100, 2080))
    stored(encoded(large, "PNG"))
    changed = large.copy()
    red, green, blue = changed.getpixel((7, 7))
    changed.putpixel((7, 7), (red ^ 1, green, blue))
    new = NewImage(file=io.BytesIO(encoded(changed, "PNG")), owner=make_user())
    added = add_image(new, note=refuse)
    assert added.is_new
    assert likeness.note_of(added).text.startswith("It looks much like")
    same = NewImage(file=io.BytesIO(encoded(large, "TIFF")), owner=make_user())
    with pytest.raises(ImageRefused, match="same pixels"):
        add_image(same, note=refuse)


def test_what_is_near_is_told_and_not_refused():
    held = stored(encoded(scene(1), "PNG"))
    new = NewImage(file=io.BytesIO(encoded(scene(1), quality=60)), owner=make_user())
    added = add_image(new, note=refuse)
    (found,) = duplicates.like_image(added.image)
    assert (found.image, found.kind) == (held, DuplicateKind.NEAR)


def test_nothing_is_like_a_file_of_which_nothing_is_known():
    stored(encoded(scene(1)))
    assert duplicates.like(Digests(), make_user()) == []


def test_the_command_compares_what_came_in_before_there_were_digests(capsys):
    for kind in ("PNG", "BMP"):
        stored(encoded(scene(1), kind))
    before = list(Image.objects.order_by("pk").values_list("pixel_sha256", "perceptual_hash"))
    Image.objects.update(pixel_sha256="", perceptual_hash=None)
    call_command("find_duplicates", "--hashes-only")
    assert "ann: 1 groups to decide about." in capsys.readouterr().out
    after = list(Image.objects.order_by("pk").values_list("pixel_sha256", "perceptual_hash"))
    assert after == before
    call_command("find_duplicates", "--owner", "ann")
    assert DuplicateGroup.objects.count() == 1


def test_the_command_says_which_file_it_cannot_read(capsys):
    image = stored(encoded(scene(1)))
    Image.objects.update(pixel_sha256="")
    image.file.storage.delete(image.file.name)
    call_command("find_duplicates", "--hashes-only")
    assert f"Image {image.pk} cannot be compared" in capsys.readouterr().err
    with pytest.raises(CommandError, match="No user bob has images"):
        call_command("find_duplicates", "--owner", "bob")


def test_the_api_tells_what_a_new_image_is_like_and_refuses_on_request():
    held = stored(encoded(scene(1), "PNG"))
    ann = as_user()
    refused = ann.post(
        "/api/v1/images", {"file": sent(encoded(scene(1), "BMP")), "duplicates": "refuse"}
    )
    assert refused.status_code == 422
    assert "same pixels" in refused.json()["detail"]
    (new,) = ann.post("/api/v1/images", {"file": sent(encoded(scene(1), "BMP"))}).json()
    assert new["duplicates"] == [str(held.uuid)]
    wrong = ann.post("/api/v1/images", {"file": sent(encoded(scene(2))), "duplicates": "burn"})
    assert wrong.status_code == 400


def test_the_upload_page_says_what_a_new_file_is_like(client):
    held = stored(encoded(scene(1), "PNG"), original_name="boats.png")
    client.force_login(make_user())
    fields = {"caption": "", "tags": "", "album": "", "visibility": "public"}
    page = client.post(
        "/upload", {"images": sent(encoded(scene(1), quality=60)), **fields}, follow=True
    )
    assert "It looks much like boats.png." in page.text
    assert Image.objects.exclude(pk=held.pk).count() == 1


def test_a_list_takes_the_same_few_statements_for_any_number_of_groups(
    django_assert_max_num_queries,
):
    ids = make_images(40).tolist()
    DuplicatePair.objects.bulk_create(
        DuplicatePair(first_id=one, second_id=other, kind="near", bits=0)
        for one, other in zip(ids[::2], ids[1::2], strict=True)
    )
    grouping.regroup(make_user().pk, ids)
    ann = as_user("ann")
    with django_assert_max_num_queries(10):
        assert len(ann.get("/api/v1/duplicates?k=20").json()["groups"]) == 20
