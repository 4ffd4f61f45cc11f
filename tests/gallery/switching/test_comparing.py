"""Both encoders side by side, and both at once."""

from __future__ import annotations

import shutil

import pytest
from django.contrib.auth.models import AnonymousUser

from embeddings.encoders.sources import BUNDLED_FOLDER
from embeddings.models import Space
from gallery import saved_searches, spaces
from gallery.errors import QueryInvalid, SearchExpired, SpaceRefused
from gallery.models import Image, ImageEmbedding, Visibility
from gallery.query import Band, Encoders, ImageTerm, Leg, Mode, Order, PixelsTerm, Query, TextTerm
from gallery.search import explain, recent, search, searches, totals, turn
from gallery.switching import comparing, questions, steps
from gallery.switching.questions import Origin
from scenes import compose, draw
from tests.gallery.switching.conftest import fill_all
from tests.rows import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_was_asked(monkeypatch):
    monkeypatch.setattr(recent, "EVERY_SECONDS", 0.0)


def query(text="a boat", **given):
    return Query(terms=(TextTerm(text),), least_band=Band.UNLIKELY, **given)


def ids_of(page):
    return [hit.image.pk for hit in page.hits]


def found_in(space, **given):
    if spaces.active() != space:
        steps.switch(space, seen=spaces.active())
    return ids_of(search(query(**given), make_user()))


def compared(texts=("a boat",), k=3, user=None):
    user = user or make_user()
    asked = questions.of(user, texts=texts, at_most=100)
    return comparing.compare(asked, user, other=spaces.beside(), k=k)


def test_both_show_what_a_search_would_find_and_where_the_other_ranks_it(new, old):
    found = compared()
    (one,) = found.queries
    assert (found.left, found.right) == (old, new)
    left, right = found_in(old), found_in(new)
    assert [hit.hit.image.pk for hit in one.left] == left[:3]
    assert [hit.hit.image.pk for hit in one.right] == right[:3]
    for hit in one.left:
        assert hit.other_rank == right.index(hit.hit.image.pk) + 1
    common = len(set(left[:3]) & set(right[:3]))
    assert (one.common, one.new, one.gone) == (common, 3 - common, 3 - common)
    assert one.overlap == pytest.approx(common / 3)
    assert one.has_same_first == (left[0] == right[0])
    assert found.encode_ms[0] > 0


def test_an_encoder_agrees_with_itself(images, tmp_path):
    twin = steps.fill(str(shutil.copytree(BUNDLED_FOLDER, tmp_path / "twin" / "bundled")))
    fill_all()
    found = compared(texts=("a boat", "a red house"), k=4)
    assert found.right == twin
    assert (found.overlap, found.same_first) == (1.0, 1.0)
    assert [(one.new, one.gone, one.moved) for one in found.queries] == [(0, 0, 0.0)] * 2


def test_what_a_viewer_may_not_see_is_in_neither(new):
    Image.objects.filter(pk=Image.objects.first().pk).update(visibility=Visibility.PRIVATE)
    (one,) = compared(k=10, user=make_user("bob")).queries
    assert len(one.left) == len(one.right) == 4
    (one,) = compared(k=10).queries
    assert len(one.left) == 5


def test_a_query_by_an_image_that_one_has_no_vector_of_is_told(new):
    image = Image.objects.first()
    ImageEmbedding.objects.filter(space=new, image=image).delete()
    user = make_user()
    saved_searches.save(user, "like it", Query(terms=(ImageTerm(image.uuid),)))
    asked = questions.of(user, origins=[Origin.SAVED], at_most=5)
    found = comparing.compare(asked, user, other=new, k=3)
    assert "no vector by the encoder other yet" in found.queries[0].problem
    assert found.lack_sentence.startswith("1 image that is found now has no vector in other")
    assert found.sentence == "No query could be compared."


def test_there_must_be_two_spaces_to_compare(images, old):
    with pytest.raises(SpaceRefused, match="nothing to compare the active space with"):
        comparing.compare([], make_user(), other=old, k=3)


@pytest.mark.parametrize("k", [0, 101])
def test_so_many_hits_are_not_compared(new, k):
    with pytest.raises(QueryInvalid, match="From 1 to 100"):
        compared(k=k)


def test_queries_are_saved_ones_recent_ones_and_captions_each_once(new):
    ann, bob = make_user(), make_user("bob")
    saved_searches.save(ann, "mine", query("a ship"))
    saved_searches.save(ann, "words", query("a ship", mode=Mode.KEYWORD))
    saved_searches.save(bob, "his", query("a car"))
    search(query("a lamp"), bob)
    search(query("a lamp"), AnonymousUser())
    names = [one.name for one in questions.of(ann, origins=list(Origin), at_most=100)]
    assert names[:2] == ["mine", "a lamp"]
    assert sorted(names[2:]) == [f"A scene of number {seed}" for seed in range(5)]
    assert [one.name for one in questions.of(ann, texts=["x"], at_most=3)] == ["x"]


def test_what_is_asked_is_noted_only_while_there_is_a_second_space(images, folder, settings):
    search(query("before"), make_user())
    assert recent.texts() == []
    steps.fill(str(folder))
    spaces.forget()
    search(query("with it"), make_user())
    assert recent.texts() == ["with it"]
    settings.RECENT_QUERIES = 0
    search(query("no more"), make_user())
    assert recent.texts() == []


def test_only_so_many_texts_are_kept(new, settings):
    settings.RECENT_QUERIES = 2
    for text in ("one", "two", "three"):
        search(query(text), make_user())
    assert sorted(recent.texts()) == ["three", "two"]


# Both at once


def both(**given):
    return query(encoders=Encoders.BOTH, **given)


def test_without_a_second_filled_space_both_cannot_be_asked(images, folder):
    with pytest.raises(QueryInvalid, match="no second encoder whose space is filled"):
        search(both(), make_user())
    steps.fill(str(folder))
    spaces.forget()
    with pytest.raises(QueryInvalid, match="no second encoder whose space is filled"):
        search(both(), make_user())


@pytest.fixture
def filled(new):
    Space.objects.filter(pk=new.pk).update(filled_at=new.filling_since)
    new.refresh_from_db()
    spaces.forget()
    return new


def test_both_are_fused_by_the_sum_of_their_reciprocal_ranks(filled, old):
    page = search(both(), make_user())
    first, second = found_in(old), found_in(filled)
    expected = {
        id_: 1 / (60 + first.index(id_) + 1) + 1 / (60 + second.index(id_) + 1) for id_ in first
    }
    assert {hit.image.pk: hit.score for hit in page.hits} == pytest.approx(expected)
    assert ids_of(page) == sorted(expected, key=lambda id_: (-expected[id_], id_))
    assert page.encoder == "bundled and other"
    assert page.is_fused
    assert [(leg.leg, leg.encoder) for leg in page.legs] == [
        (Leg.IMAGE, "bundled"),
        (Leg.IMAGE, "other"),
    ]


def test_why_a_hit_of_both_is_here_names_the_encoders(filled):
    page = search(both(), make_user())
    hit = page.hits[0]
    why = explain(page.search_id, make_user(), hit.image.uuid)
    assert [leg.encoder for leg in why.legs] == ["bundled", "other"]
    assert sum(leg.share for leg in why.legs) == pytest.approx(hit.score, abs=1e-6)
    assert [term.encoder for term in why.terms] == ["bundled", "other"]
    assert why.encoder == "bundled and other"


def test_in_hybrid_mode_words_are_one_leg_beside_the_vectors_of_both(filled):
    page = search(both(text="scene", mode=Mode.HYBRID), make_user())
    assert [(leg.leg, leg.encoder) for leg in page.legs] == [
        (Leg.IMAGE, "bundled"), (Leg.CAPTION, "bundled"), (Leg.KEYWORD, ""),
        (Leg.IMAGE, "other"), (Leg.CAPTION, "other"),
    ]  # fmt: skip
    assert len(page.hits) == 5


def test_an_image_that_is_shown_is_encoded_by_both(filled):
    shown = PixelsTerm(draw(compose(2), size=(96, 96)))
    page = search(Query(terms=(shown,), encoders=Encoders.BOTH), make_user())
    assert page.hits[0].image.caption == "A scene of number 2"


def test_an_image_of_the_library_is_no_hit_of_either(filled):
    image = Image.objects.first()
    page = search(
        Query(terms=(ImageTerm(image.uuid),), encoders=Encoders.BOTH, least_band=Band.UNLIKELY),
        make_user(),
    )
    assert len(page.hits) == 4
    assert image.pk not in ids_of(page)


def test_an_image_that_one_of_both_has_not_seen_is_told_with_its_encoder(filled):
    image = Image.objects.first()
    ImageEmbedding.objects.filter(space=filled, image=image).delete()
    with pytest.raises(QueryInvalid, match="no vector by the encoder other yet: ask the other one"):
        search(Query(terms=(ImageTerm(image.uuid),), encoders=Encoders.BOTH), make_user())
    # It is found all the same, by the one that has.
    assert image.pk in ids_of(search(both(), make_user()))


def test_what_either_has_a_vector_of_can_be_found_by_both(filled, old):
    for space, image in zip((old, filled), Image.objects.order_by("pk"), strict=False):
        ImageEmbedding.objects.filter(space=space, image=image).delete()
    page = search(both(), make_user())
    kept = searches.open_search(page.search_id, make_user())
    assert searches._comparable(kept.query, make_user()) == len(page.hits) == 5


def test_pages_of_both_hold_still(filled):
    whole = ids_of(search(both(), make_user()))
    page = search(both(k=2), make_user())
    rest = [turn(page.search_id, make_user(), number=number) for number in (2, 3)]
    assert [*ids_of(page), *ids_of(rest[0]), *ids_of(rest[1])] == whole


def test_a_search_of_both_expires_when_one_is_retired(filled):
    page = search(both(k=2), make_user())
    assert totals(page.search_id, make_user()).total == 5
    page = search(both(k=2), make_user())
    steps.retire(filled)
    with pytest.raises(SearchExpired):
        totals(page.search_id, make_user())


def test_a_least_score_is_of_one_encoder(filled):
    with pytest.raises(QueryInvalid, match="one encoder's scores"):
        search(both(min_score=0.1), make_user())


def test_variety_and_other_orders_work_with_both(filled):
    varied = search(both(diversity=0.9), make_user())
    newest = search(both(order=Order.NEWEST_ADDED), make_user())
    assert sorted(ids_of(varied)) == sorted(ids_of(newest))
    assert ids_of(newest) == sorted(ids_of(newest), reverse=True)
