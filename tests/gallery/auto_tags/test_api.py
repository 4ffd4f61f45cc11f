from __future__ import annotations

import pytest

from gallery import spaces
from gallery.models import AutoTag, Image
from tests.gallery.auto_tags.crowds import (
    PROMPT,
    auto_tag,
    begin_anew,
    compare,
    crowd,
    images_at,
    tagged,
    uuids,
)
from tests.gallery.uploads import as_user
from tests.rows import make_user

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/auto-tags"
BOATS = (0.6, 0.59, 0.58, 0.57)


@pytest.fixture
def boats():
    begin_anew()
    space = spaces.ensure()
    crowd(space)
    return images_at(space, BOATS)


def post(client, address, **fields):
    return client.post(address, fields, content_type="application/json")


def test_an_auto_tag_is_made_changed_and_deleted(boats):
    ann = as_user()
    answer = post(ann, ADDRESS, tag="Boat", prompts=[PROMPT], templates=["{}"])
    assert answer.status_code == 201
    made = answer.json()
    assert (made["tag"], made["mode"], made["is_compared"]) == ("boat", "suggest", False)
    compare()
    (listed,) = ann.get(ADDRESS).json()
    assert (listed["open"], listed["is_compared"], listed["precision"]) == (4, True, None)
    address = f"{ADDRESS}/{made['id']}"
    changed = ann.patch(address, {"mode": "apply"}, content_type="application/json").json()
    assert (changed["mode"], changed["prompts"], changed["is_compared"]) == (
        "apply", [PROMPT], False,
    )  # fmt: skip
    compare()
    assert ann.get(address).json()["applied"] > 0
    assert ann.delete(address).status_code == 204
    assert ann.get(address).status_code == 404
    assert not Image.objects.filter(tags__name="boat").exists()


def test_suggestions_are_listed_and_answered(boats):
    ann = as_user()
    tag = auto_tag()
    compare()
    address = f"{ADDRESS}/{tag.pk}"
    listed = ann.get(f"{address}/suggestions", {"k": 3, "order": "best"}).json()
    assert listed["total"] == 4
    ids = [one["image"]["id"] for one in listed["suggestions"]]
    assert ids == [str(Image.objects.get(pk=id_).uuid) for id_ in boats[:3]]
    answer = post(ann, f"{address}/answers", accept=ids[:2], reject=ids[2:])
    assert answer.json() == {"count": 3}
    assert tagged(tag) == set(boats[:2].tolist())
    told = ann.get(address).json()
    assert told["precision"]["value"] == pytest.approx(2 / 3)
    assert post(ann, f"{address}/answers", undo=ids).json() == {"count": 3}
    assert ann.get(f"{address}/suggestions").json()["total"] == 4


def test_what_is_wrong_is_a_sentence(boats):
    ann = as_user()
    tag = auto_tag()
    for status, fields in (
        (400, {"tag": ""}),
        (400, {"tag": "x", "prompts": ["y" * 1000]}),
        (400, {"tag": "x", "mode": "burn"}),
        (400, {"tag": "x", "wanted_precision": 2}),
        (400, {"tag": "x", "wanted_precision": "nan"}),
        (400, {"tag": "x", "templates": ["none"]}),
        (409, {"tag": "boat"}),
    ):
        answer = post(ann, ADDRESS, **fields)
        assert (answer.status_code, "detail" in answer.json()) == (status, True)
    assert post(ann, f"{ADDRESS}/{tag.pk}/answers", accept=["x"]).status_code == 400
    assert ann.get(f"{ADDRESS}/{tag.pk}/suggestions?k=1000").status_code == 400
    assert AutoTag.objects.count() == 1


def test_nobody_reaches_anothers(boats, client):
    tag = auto_tag("bob")
    ann = as_user()
    assert ann.get(ADDRESS).json() == []
    address = f"{ADDRESS}/{tag.pk}"
    assert ann.get(address).status_code == 404
    assert ann.get(f"{address}/suggestions").status_code == 404
    assert ann.delete(address).status_code == 404
    assert post(ann, f"{address}/answers", accept=[]).status_code == 404
    changed = ann.patch(address, {"mode": "apply"}, content_type="application/json")
    assert changed.status_code == 404
    assert client.get(ADDRESS).status_code == 401
    of_bob = as_user("bob")
    assert post(of_bob, f"{address}/answers", accept=[str(u) for u in uuids(boats)]).json() == {
        "count": 0
    }
    assert make_user("bob").auto_tags.count() == 1
