from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from gallery import pipeline, spaces
from gallery.models import Image, SavedSearch
from tests.gallery.uploads import as_user, picture, png, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db

SEARCH = "/api/v1/search"
ALL = {"band": "unlikely"}  # noise is unlike any words


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
    answer = client.get(SEARCH, {"q": "a red boat", "k": 2, **ALL}).json()
    assert answer.keys() == {
        *("search_id", "page", "has_more", "hits", "plans", "took_ms"),
        *("encoder", "unknown_words", "notice"),
    }
    (plan,) = answer["plans"]
    assert plan["leg"] == "image"
    assert plan["exact"]
    assert answer["page"] == 1
    assert answer["has_more"]
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    first, second = answer["hits"]
    assert first["score"] >= second["score"]
    assert first.keys() == {
        *("id", "score", "rank", "band", "caption", "tags", "url", "thumbnail_url", "video"),
    }
    assert first["url"] == f"/images/{first['id']}"
    assert b"".join(client.get(first["thumbnail_url"]).streaming_content)[8:12] == b"WEBP"


def test_an_image_that_is_sent_finds_itself_first(client, images):
    answer = client.post(SEARCH, {"image": png(2), **ALL})
    assert found(answer)[0] == str(images[2].uuid)
    assert answer.json()["hits"][0]["score"] == pytest.approx(1, abs=0.02)


def test_an_image_of_the_gallery_finds_its_like_and_not_itself(client, images):
    for answer in (
        client.get(SEARCH, {"similar_to": images[1].uuid, **ALL}),
        client.post(SEARCH, {"similar_to": images[1].uuid, **ALL}),
    ):
        assert set(found(answer)) == ids(images[0], images[2], images[3])


def test_a_text_and_an_image_are_one_query(client, images):
    assert len(found(client.post(SEARCH, {"q": "boat", **ALL, "image": png(2)}))) == 4


def test_a_search_is_filtered(client, images):
    assert set(found(client.get(SEARCH, {"q": "boat", **ALL, "tag": "Tag1"}))) == ids(images[1])
    assert found(client.get(SEARCH, {"q": "boat", **ALL, "tag": ["all", "tag1", "tag2"]})) == []
    taken = {"taken_after": "2021-01-01", "taken_before": "2022-12-31"}
    for answer in (
        client.get(SEARCH, {"q": "boat", **ALL, **taken}),
        client.post(SEARCH, {"q": "boat", **ALL, **taken}),
    ):
        assert set(found(answer)) == ids(images[1], images[2])


def test_a_search_finds_what_the_viewer_may_see(images):
    assert set(found(Client().get(SEARCH, {"q": "boat", **ALL}))) == ids(*images[:4])
    assert set(found(as_user("bob").get(SEARCH, {"q": "boat", **ALL}))) == ids(*images[:4])
    assert set(found(as_user("ann").get(SEARCH, {"q": "boat", **ALL}))) == ids(*images)
    private = as_user("ann").get(SEARCH, {"q": "boat", **ALL, "visibility": "private"})
    assert set(found(private)) == ids(images[4])


@pytest.mark.parametrize("method", ["get", "post"])
def test_anothers_private_image_cannot_be_compared_with(images, method):
    private = getattr(as_user("bob"), method)(SEARCH, {"similar_to": images[4].uuid})
    unknown = getattr(as_user("bob"), method)(SEARCH, {"similar_to": uuid.uuid4()})
    assert private.status_code == unknown.status_code == 400
    assert private.json() == unknown.json()


def test_the_bundled_encoder_says_what_it_understands(client, images):
    assert "drawn scenes only" in client.get(SEARCH, {"q": "boat", **ALL}).json()["notice"]


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
        ("tga", "sea"),
        ("weight", "nan"),
        ("weight", "0"),
        ("weight", "x"),
        ("without", "a\x00b"),
        ("good", "x"),
        ("filter", "nothing:here"),
        ("filter", "tag:"),
        ("filter", "(" * 5000 + "tag:a" + ")" * 5000),
        ("filter", "NOT " * 1000 + "tag:a"),
        ("mode", "magic"),
        ("legs", "feet:1"),
        ("legs", "image:-1"),
        ("legs", "image:inf"),
        ("aggregate", "median"),
        ("order", "id"),
        ("order", "owner__password"),
        ("diversity", "2"),
        ("diversity", "nan"),
        ("band", "surely"),
        ("min_score", "7"),
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
    assert client.get(SEARCH, {"q": "boat", **ALL, **days}).status_code == 400


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
    answer = client.get(SEARCH, {"q": "boat", **ALL})
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("Search is not available")


def test_a_search_asks_few_queries(client, images, django_assert_max_num_queries):
    with django_assert_max_num_queries(8):
        client.get(SEARCH, {"q": "boat", **ALL})


# What follows a search


@pytest.fixture
def searched(client, images):
    """The answer to a search with four hits, two a page."""
    return client.get(SEARCH, {"q": "boat", "k": 2, **ALL}).json()


def test_pages_hold_still_while_images_go(client, images, searched):
    everything = found(client.get(SEARCH, {"q": "boat", "k": 4, **ALL}))
    address = f"{SEARCH}/{searched['search_id']}"
    assert found(client.get(address)) == everything[:2]
    second = client.get(address, {"page": 2})
    assert found(second) == everything[2:]
    assert not second.json()["has_more"]
    Image.objects.get(uuid=everything[2]).delete()
    gone = client.get(address, {"page": 2}).json()["hits"]
    assert [(hit["id"], hit["rank"]) for hit in gone] == [(everything[3], 4)]


@pytest.mark.parametrize("page", ["0", "-1", "3", str(10**9), "x"])
def test_a_page_that_is_not_there_is_refused(client, searched, page):
    answer = client.get(f"{SEARCH}/{searched['search_id']}", {"page": page})
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize("rest", ["", "/totals", "/facets?field=tag", f"/why/{uuid.UUID(int=7)}"])
def test_a_search_is_of_use_to_its_viewer_alone(images, searched, rest):
    address = f"{SEARCH}/{searched['search_id']}{rest}"
    for answer in (as_user("bob").get(address), Client().get(f"{SEARCH}/made-up{rest}")):
        assert answer.status_code == 410
        assert "search again" in answer.json()["detail"]


def test_totals_count_by_band(client, searched):
    counted = client.get(f"{SEARCH}/{searched['search_id']}/totals").json()
    assert counted["total"] == 4
    assert sum(counted["by_band"].values()) == 4
    assert not counted["is_capped"]


def test_facets_count_the_hits(client, images, searched):
    address = f"{SEARCH}/{searched['search_id']}/facets"
    tags, years = client.get(address, {"field": ["tag", "year"]}).json()
    assert (tags["field"], years["field"]) == ("tag", "year")
    assert tags["counts"][0] == {"value": "all", "label": "all", "count": 4}
    assert {one["value"] for one in years["counts"]} == {"2020", "2021", "2022", "2023"}
    assert client.get(address, {"field": "password"}).status_code == 400
    assert client.get(address).status_code == 400


def test_facets_count_what_a_filter_leaves(client, images):
    answer = client.get("/api/v1/facets", {"field": "tag", "filter": "taken>=2022"})
    (tags,) = answer.json()
    assert {one["value"]: one["count"] for one in tags["counts"]} == {
        "all": 2,
        "tag2": 1,
        "tag3": 1,
    }
    assert client.get("/api/v1/facets", {"field": "tag", "tga": "x"}).status_code == 400


def test_it_says_why_an_image_is_there(client, images):
    query = {"q": ["boat", "sea"], "without": "people", "filter": "taken>=2021 OR tag:tag0", **ALL}
    searched = client.get(SEARCH, query).json()
    hit = searched["hits"][0]
    why = client.get(f"{SEARCH}/{searched['search_id']}/why/{hit['id']}").json()
    assert why["hit"]["id"] == hit["id"]
    assert [term["weight"] for term in why["terms"]] == [1, 1, -1]
    assert sum(term["share"] for term in why["terms"]) == pytest.approx(hit["score"], abs=1e-3)
    assert why["conditions"]
    nobodys = client.get(f"{SEARCH}/{searched['search_id']}/why/{uuid.uuid4()}")
    assert nobodys.status_code == 404


def test_a_search_by_a_sent_image_needs_it_once(client, images):
    first = client.post(SEARCH, {"image": png(2), "k": 2, **ALL}).json()
    second = client.get(f"{SEARCH}/{first['search_id']}", {"page": 2})
    assert len(found(second)) == 2
    assert not set(found(second)) & {hit["id"] for hit in first["hits"]}


# The query in JSON


def post_json(client, query):
    return client.post(SEARCH, query, content_type="application/json")


def test_the_same_query_in_json_finds_the_same(client, images):
    written = {
        "terms": [{"text": "boat"}, {"text": "people", "weight": -0.5}],
        "filter": {"not": {"field": "tag", "op": "=", "value": "tag1"}},
        "band": "unlikely",
        "k": 3,
    }
    address = {"q": ["boat", "people"], "weight": ["1", "-0.5"], "filter": "NOT tag:tag1", **ALL}
    assert found(post_json(client, written)) == found(client.get(SEARCH, {**address, "k": 3}))


@pytest.mark.parametrize(
    "query",
    [
        "[]",
        "{",
        '{"terms": [{"text": "boat"}], "filter": ' + '{"not": ' * 1000 + "1" + "}" * 1001,
        "[" * 100_000,
        '{"terms": [{"text": "boat", "weight": NaN}]}',
        '{"terms": [{"text": "boat", "wght": 1}]}',
        '{"terms": "boat"}',
        '{"terms": [{"text": "boat"}], "filter": {"field": "password", "op": "=", "value": "x"}}',
        '{"terms": [{"text": "boat"}], "version": 99}',
    ],
)
def test_a_wrong_query_in_json_is_refused(client, space, query):
    answer = post_json(client, query)
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")


def test_what_is_in_the_wrong_place_is_refused_not_ignored(client, images):
    asked = client.get(SEARCH, {"q": "boat", **ALL}).json()
    in_json = f'{{"terms": [{{"similar_to": "{images[0].uuid}"}}]}}'
    for answer in (
        client.post(f"{SEARCH}?tag=tag1", {"q": "boat", **ALL}),
        client.post(f"{SEARCH}?tag=tag1", in_json, content_type="application/json"),
        client.post(SEARCH, {"q": "boat", **ALL, "file": png(2)}),
        client.post(SEARCH, {**ALL, "image": [png(2), png(3)]}),
        client.get(f"{SEARCH}/{asked['search_id']}", {"pag": 2}),
    ):
        assert answer.status_code == 400
        assert answer.json()["detail"].endswith(".")


# Saved searches

SAVED = "/api/v1/saved-searches"


def test_a_search_is_saved_listed_asked_and_deleted(images):
    ann = as_user("ann")
    query = {"terms": [{"text": "boat"}], "band": "unlikely"}
    made = ann.post(SAVED, {"name": "Boats", "query": query}, content_type="application/json")
    assert made.status_code == 201
    (listed,) = ann.get(SAVED).json()
    assert listed["name"] == "Boats"
    assert ["q", "boat"] in listed["parameters"]
    assert set(found(ann.get(SEARCH, {"saved": "Boats"}))) == ids(*images)
    assert ann.delete(f"{SAVED}/{listed['id']}").status_code == 204
    assert ann.get(SEARCH, {"saved": "Boats"}).status_code == 400


def test_an_outdated_saved_search_does_not_hide_the_others(images):
    for name, query in (("Boats", {"terms": [{"text": "boat"}]}), ("Old", {"version": 99})):
        SavedSearch.objects.create(owner=make_user("ann"), name=name, query=query)
    answer = as_user("ann").get(SAVED)
    assert answer.status_code == 200
    parameters = {one["name"]: one["parameters"] for one in answer.json()}
    assert parameters == {"Boats": [["q", "boat"]], "Old": []}


@pytest.mark.parametrize("name", ["a\x00b", "\x00", "nothing of that name"])
def test_a_saved_search_that_is_not_there_is_refused(space, name):
    answer = as_user("ann").get(SEARCH, {"saved": name})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("You have no saved search")


def test_a_name_is_taken_once_a_person(images):
    query = {"name": "Boats", "query": {"terms": [{"text": "boat"}]}}
    statuses = [
        as_user(name).post(SAVED, query, content_type="application/json").status_code
        for name in ("ann", "ann", "bob")
    ]
    assert statuses == [201, 409, 201]


def test_anothers_saved_search_is_not_there(images):
    query = {"name": "Boats", "query": {"terms": [{"text": "boat"}]}}
    made = as_user("ann").post(SAVED, query, content_type="application/json").json()
    bob = as_user("bob")
    assert bob.get(SAVED).json() == []
    assert bob.delete(f"{SAVED}/{made['id']}").status_code == 404
    assert bob.get(SEARCH, {"saved": "Boats"}).status_code == 400
    assert Client().get(SEARCH, {"saved": "Boats"}).status_code == 401
    assert Client().get(SAVED).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "", "query": {"terms": [{"text": "boat"}]}},
        {"name": "x" * 101, "query": {"terms": [{"text": "boat"}]}},
        {"name": "Boats", "query": {}},
        {"name": "Boats", "query": {"terms": [{"txet": "boat"}]}},
        {"name": "Boats"},
    ],
)
def test_a_wrong_saved_search_is_refused(space, wrong):
    answer = as_user("ann").post(SAVED, wrong, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")
