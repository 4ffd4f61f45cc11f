from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from gallery import pipeline, spaces
from tests.gallery.uploads import as_user, picture, png, stored

pytestmark = pytest.mark.django_db

SEARCH = "/api/v1/search"


@pytest.fixture
def space():
    return spaces.ensure()


@pytest.fixture
def images(space):
    """Five embedded images: 0 to 3 are public, 4 is ann's alone."""
    images = [
        stored(seed, tags=(f"tag{seed}", "all"), taken_at=datetime(2020 + seed, 6, 1, tzinfo=UTC))
        for seed in range(4)
    ]
    images.append(stored(4, visibility="private"))
    pipeline.embed_waiting()
    return images


def found(answer):
    assert answer.status_code == 200, answer.content
    return [hit["id"] for hit in answer.json()["hits"]]


def ids(*images):
    return {str(image.uuid) for image in images}


def test_an_answer_has_hits_and_says_how_they_were_found(client, images):
    answer = client.get(SEARCH, {"q": "a red boat", "k": 2}).json()
    assert answer.keys() == {"hits", "plan", "took_ms", "encoder", "unknown_words", "notice"}
    assert answer["plan"].keys() == {"route", "exact", "candidates", "steps"}
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    first, second = answer["hits"]
    assert first["score"] >= second["score"]
    assert first.keys() == {"id", "score", "rank", "caption", "tags", "url", "thumbnail_url"}
    assert first["url"] == f"/images/{first['id']}"
    assert b"".join(client.get(first["thumbnail_url"]).streaming_content)[8:12] == b"WEBP"


def test_an_image_that_is_sent_finds_itself_first(client, images):
    answer = client.post(SEARCH, {"image": png(2)})
    assert found(answer)[0] == str(images[2].uuid)
    assert answer.json()["hits"][0]["score"] == pytest.approx(1, abs=0.02)


def test_an_image_of_the_gallery_finds_its_like_and_not_itself(client, images):
    for answer in (
        client.get(SEARCH, {"similar_to": images[1].uuid}),
        client.post(SEARCH, {"similar_to": images[1].uuid}),
    ):
        assert set(found(answer)) == ids(images[0], images[2], images[3])


def test_a_text_and_an_image_are_one_query(client, images):
    assert len(found(client.post(SEARCH, {"q": "boat", "image": png(2)}))) == 4


def test_a_search_is_filtered(client, images):
    assert set(found(client.get(SEARCH, {"q": "boat", "tag": "Tag1"}))) == ids(images[1])
    assert found(client.get(SEARCH, {"q": "boat", "tag": ["all", "tag1", "tag2"]})) == []
    taken = {"taken_after": "2021-01-01", "taken_before": "2022-12-31"}
    for answer in (
        client.get(SEARCH, {"q": "boat", **taken}),
        client.post(SEARCH, {"q": "boat", **taken}),
    ):
        assert set(found(answer)) == ids(images[1], images[2])


def test_a_search_finds_what_the_viewer_may_see(images):
    assert set(found(Client().get(SEARCH, {"q": "boat"}))) == ids(*images[:4])
    assert set(found(as_user("bob").get(SEARCH, {"q": "boat"}))) == ids(*images[:4])
    assert set(found(as_user("ann").get(SEARCH, {"q": "boat"}))) == ids(*images)
    private = as_user("ann").get(SEARCH, {"q": "boat", "visibility": "private"})
    assert set(found(private)) == ids(images[4])


@pytest.mark.parametrize("method", ["get", "post"])
def test_anothers_private_image_cannot_be_compared_with(images, method):
    private = getattr(as_user("bob"), method)(SEARCH, {"similar_to": images[4].uuid})
    unknown = getattr(as_user("bob"), method)(SEARCH, {"similar_to": uuid.uuid4()})
    assert private.status_code == unknown.status_code == 404
    assert private.json() == unknown.json()


def test_the_bundled_encoder_says_what_it_understands(client, images):
    assert "drawn scenes only" in client.get(SEARCH, {"q": "boat"}).json()["notice"]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", "0"),
        ("k", "-1"),
        ("k", str(10**9)),
        ("k", "abc"),
        ("k", "1.5"),
        ("k", "9" * 5000),
        ("q", ""),
        ("q", " "),
        ("q", "a\x00b"),
        ("q", "a" * 1001),
        ("tag", "a\x00b"),
        ("tag", "a" * 101),
        ("album", "\x00"),
        ("similar_to", "x"),
        ("similar_to", "\x00" * 36),
        ("taken_after", "soon"),
        ("taken_after", "0"),
        ("taken_after", "99999-01-01"),
        ("taken_before", "2024-13-01"),
        ("visibility", "mine"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_sentence(client, space, method, name, value):
    answer = getattr(client, method)(SEARCH, {"q": "boat", name: value})
    assert answer.status_code == 400
    assert answer.json().keys() == {"detail"}
    assert answer.json()["detail"].endswith(".")
    assert len(answer.json()["detail"]) < 300


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_empty_query_is_refused(client, space, method):
    answer = getattr(client, method)(SEARCH)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Say what to look for")


def test_a_text_of_a_megabyte_is_refused(client, space):
    assert client.post(SEARCH, {"q": "a" * 2**20}).status_code == 400


def test_days_in_the_wrong_order_are_refused(client, space):
    days = {"taken_after": "2024-01-02", "taken_before": "2024-01-01"}
    assert client.get(SEARCH, {"q": "boat", **days}).status_code == 400


@pytest.mark.parametrize("content", [b"", b"no image", picture()[:200]])
def test_a_file_that_is_no_image_is_refused(client, space, content):
    answer = client.post(SEARCH, {"image": SimpleUploadedFile("a.png", content)})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("The file is")


def test_a_request_larger_than_an_image_may_be_is_refused(client, settings):
    settings.MAX_IMAGE_BYTES = 10
    answer = client.post(SEARCH, {"image": SimpleUploadedFile("a.png", b"a" * 1_100_000)})
    assert answer.status_code == 413


def test_a_gallery_without_an_encoder_says_so(client):
    answer = client.get(SEARCH, {"q": "boat"})
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("Search is not available")


def test_a_search_asks_few_queries(client, images, django_assert_max_num_queries):
    with django_assert_max_num_queries(8):
        client.get(SEARCH, {"q": "boat"})
