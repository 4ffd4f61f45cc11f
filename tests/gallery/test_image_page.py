from __future__ import annotations

import uuid

import pytest
from django.test import Client

from gallery import pipeline, spaces
from gallery.models import Album, Image, State
from tests.gallery.uploads import stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db

CHANGED = {
    "caption": "Two boats",
    "tags": "Sea,  night, sea",
    "album": "Harbour",
    "visibility": "private",
}


def page(client, image, status=200):
    answer = client.get(image.get_absolute_url())
    assert answer.status_code == status
    return answer.text


def as_(name="ann", **fields):
    client = Client()
    client.force_login(make_user(name, **fields))
    return client


def test_the_page_shows_the_record(client):
    image = stored(
        caption="A red boat", tags=("sea & sand",), album="Harbour", licence="CC BY 4.0",
        attribution="Ann", source_url="https://example.org/boat", metadata={"iso": 200},
    )  # fmt: skip
    Image.objects.update(latitude=48.85837, longitude=2.29448, camera="Box No. 2")
    text = page(client, image)
    for shown in (
        "A red boat", "/?tag=sea%20%26%20sand", "/?album=Harbour", "CC BY 4.0", "Ann", "200",
        'href="https://example.org/boat"', "image/png", "32 \u00d7 24 px", "Box No. 2",
        f'href="/images/{image.uuid}/file"', f"/?similar_to={image.uuid}", 'fill="#',
    ):  # fmt: skip
        assert shown in text


def test_only_its_owner_is_told_where_an_image_was_taken(client):
    image = stored()
    Image.objects.update(latitude=48.85837, longitude=2.29448)
    assert "48.85837" in page(as_(), image)
    assert "48.8" not in page(client, image)
    assert "48.8" not in page(as_("bob"), image)


def test_a_hidden_image_has_no_page(client):
    image = stored(visibility="private")
    for visitor in (client, as_("bob")):
        assert "There is nothing here" in page(visitor, image, 404)
        page(visitor, Image(uuid=uuid.uuid4()), 404)
    page(as_("ann"), image)
    page(as_("root", is_superuser=True), image)


def test_texts_are_shown_as_texts(client):
    image = stored(caption="<script>alert(1)</script>")
    Image.objects.update(source_url="javascript:alert(1)", metadata={"<b>": "<i>"})
    text = page(client, image)
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert 'href="javascript:' not in text


def test_the_page_says_why_an_image_failed(client):
    image = stored()
    assert "Waiting." in page(client, image)
    Image.objects.update(state=State.FAILED, failure="The file is cut short.")
    assert "The file is cut short." in page(client, image)


def test_images_like_this_one_are_a_part_of_its_own(client):
    spaces.ensure()
    image, other, hidden = stored(0), stored(1), stored(2, visibility="private")
    pipeline.embed_waiting()
    address = f"/images/{image.uuid}/similar"
    part = client.get(address, headers={"HX-Request": "true"}).text
    assert other.get_absolute_url() in part
    assert hidden.get_absolute_url() not in part
    assert image.get_absolute_url() not in part
    assert client.get(address).url == f"/?similar_to={image.uuid}"
    assert client.get(f"/images/{hidden.uuid}/similar").status_code == 404


def test_images_like_this_one_say_when_search_is_not_available(client):
    image = stored()
    answer = client.get(f"/images/{image.uuid}/similar", headers={"HX-Request": "true"})
    assert answer.status_code == 503
    assert "Search is not available" in answer.text


def test_an_owner_changes_the_record():
    image = stored()
    ann = as_()
    assert "Edit" in page(ann, image)
    answer = ann.post(f"/images/{image.uuid}/edit", CHANGED, follow=True)
    assert answer.redirect_chain == [(image.get_absolute_url(), 302)]
    assert "Saved." in answer.text
    image.refresh_from_db()
    assert (image.caption, image.visibility) == ("Two boats", "private")
    assert [tag.name for tag in image.tags.all()] == ["night", "sea"]
    assert image.album == Album.objects.get(name="Harbour", owner=make_user("ann"))


def test_an_administrator_puts_an_image_into_an_album_of_its_owner():
    image = stored()
    as_("root", is_superuser=True).post(f"/images/{image.uuid}/edit", CHANGED)
    assert Album.objects.get().owner == make_user("ann")


def test_an_empty_album_takes_the_image_out_of_its_own():
    image = stored(album="Harbour")
    as_().post(f"/images/{image.uuid}/edit", CHANGED | {"album": ""})
    image.refresh_from_db()
    assert image.album is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"visibility": "secret"}, "not one of the available choices"),
        ({"tags": "x" * 101}, "100 are allowed"),
        ({"caption": "x" * 10_001}, "at most 10000 characters"),
        ({"album": "x" * 201}, "at most 200 characters"),
    ],
)
def test_a_wrong_change_is_refused_whole(wrong, sentence):
    image = stored(caption="As it was")
    answer = as_().post(f"/images/{image.uuid}/edit", CHANGED | wrong)
    assert answer.status_code == 400
    assert sentence in answer.text
    image.refresh_from_db()
    assert image.caption == "As it was"


def test_an_owner_deletes_an_image(django_capture_on_commit_callbacks):
    image = stored()
    with django_capture_on_commit_callbacks(execute=True):
        answer = as_().post(f"/images/{image.uuid}/delete", follow=True)
    assert "0.png is deleted." in answer.text
    assert not Image.objects.exists()
    assert not image.file.storage.exists(image.file.name)


@pytest.mark.parametrize("action", ["edit", "delete"])
def test_nobody_else_changes_an_image(client, action):
    public, private = stored(0), stored(1, visibility="private")
    bob = as_("bob")
    assert "Delete" not in page(bob, public)
    assert bob.post(f"/images/{public.uuid}/{action}", CHANGED).status_code == 403
    assert bob.post(f"/images/{private.uuid}/{action}", CHANGED).status_code == 404
    assert client.post(f"/images/{public.uuid}/{action}", CHANGED).url.startswith("/login?next=")
    assert as_().get(f"/images/{public.uuid}/{action}").status_code == 405
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(make_user("ann"))
    assert careful.post(f"/images/{public.uuid}/{action}", CHANGED).status_code == 403
    assert Image.objects.filter(caption="").count() == 2
