"""Pages, orders, diversity and counts of a ranking that holds still."""

from __future__ import annotations

import datetime
import threading
import uuid
from dataclasses import replace

import numpy as np
import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from embeddings import live
from embeddings.models import Space
from embeddings.vectors import normalise
from gallery import spaces
from gallery.errors import QueryInvalid, SearchExpired, SearchUnavailable
from gallery.models import Caption, CaptionEmbedding, Image, ImageEmbedding, Tag, Visibility
from gallery.query import Aggregate, Band, ImageTerm, Leg, Mode, Order, Query, TextTerm, conditions
from gallery.search import background, facets, kept, rankings, search, searches, totals, turn
from gallery.search.words import tsquery_of
from tests.rows import make_images, make_space, make_user, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)

VISITOR = AnonymousUser()
NEAR = 40  # images that are like the one asked for; the others are random
FAR = 160


@pytest.fixture(autouse=True)
def current_index(settings):
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    kept._failed_at = -kept.RETRY_SECONDS
    yield
    kept._failed_at = -kept.RETRY_SECONDS  # the next test's Redis answers


@pytest.fixture
def shown():
    """The public id of an image that 40 of 200 others are like, the nearer the lower their id."""
    space = make_space()
    centre = make_vectors(1, seed=1)[0]
    steps = np.linspace(0.05, 0.5, NEAR)[:, None] * make_vectors(NEAR, seed=2)
    vectors = np.concatenate([[centre], normalise(centre + steps), make_vectors(FAR, seed=3)])
    ids = make_images(1 + NEAR + FAR)
    store(ids, vectors, space)
    return Image.objects.get(pk=ids[0]).uuid


def like(uuid_, **fields):
    return Query(terms=(ImageTerm(uuid_),), **fields)


def ids_of(page):
    return [hit.image.pk for hit in page.hits]


def nowhere():
    """Return the settings of a Redis that is not there."""
    return {"default": settings.CACHES["default"] | {"LOCATION": "unix:///nowhere/redis.sock"}}


def pages(query, viewer=VISITOR):
    page = search(query, viewer)
    yield page
    while page.has_more:
        page = turn(page.search_id, viewer, number=page.number + 1)
        yield page


def test_pages_follow_one_another_without_gap_or_repeat(shown):
    whole = [hit for page in pages(like(shown, k=7, least_band=Band.UNLIKELY)) for hit in page.hits]
    assert [hit.rank for hit in whole] == list(range(1, NEAR + FAR + 1))
    assert len({hit.image.pk for hit in whole}) == NEAR + FAR
    scores = [hit.score for hit in whole]
    assert scores == sorted(scores, reverse=True)


def test_a_page_is_the_same_again_while_images_come_and_go(shown):
    query = like(shown, k=7, least_band=Band.UNLIKELY)
    first = search(query, VISITOR)
    third = turn(first.search_id, VISITOR, number=3)
    space = ImageEmbedding.objects.first().space
    store(make_images(30), make_vectors(30, seed=9), space)
    deleted, hidden = third.hits[1].image, third.hits[4].image
    deleted.delete()
    Image.objects.filter(pk=hidden.pk).update(visibility=Visibility.PRIVATE)
    again = turn(first.search_id, VISITOR, number=3)
    assert [hit.rank for hit in again.hits] == [15, 17, 18, 20, 21]
    assert ids_of(again) == [
        hit.image.pk for hit in third.hits if hit.image.pk not in (deleted.pk, hidden.pk)
    ]
    assert ids_of(turn(first.search_id, VISITOR, number=1)) == ids_of(first)


def test_the_first_page_stays_the_beginning_when_images_come_before_the_second(shown):
    query = like(shown, k=5, least_band=Band.UNLIKELY)
    first = search(query, VISITOR)
    space = ImageEmbedding.objects.first().space
    nearer = make_images(1)
    store(nearer, np.array([ImageEmbedding.objects.order_by("image_id").first().vector]), space)
    second = turn(first.search_id, VISITOR, number=2)
    assert ids_of(turn(first.search_id, VISITOR, number=1)) == ids_of(first)
    assert second.hits[0].rank in (6, 7)
    assert not set(ids_of(second)) & set(ids_of(first))


def test_two_presses_at_once_see_one_ranking(shown):
    first = search(like(shown, k=5, least_band=Band.UNLIKELY), VISITOR)
    seen, barrier = [], threading.Barrier(2)

    def press():
        barrier.wait()
        seen.append(ids_of(turn(first.search_id, VISITOR, number=4)))
        connection.close()

    threads = [threading.Thread(target=press) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 5


def test_a_search_is_of_no_use_to_another_viewer(shown):
    mine = search(like(shown, k=5), make_user("ann"))
    for thief in (make_user("bob"), VISITOR, make_user("root", is_superuser=True)):
        with pytest.raises(SearchExpired, match="search again"):
            turn(mine.search_id, thief, number=1)
        with pytest.raises(SearchExpired):
            totals(mine.search_id, thief)
    assert ids_of(turn(mine.search_id, make_user("ann"), number=1)) == ids_of(mine)


def test_an_expired_or_invented_search_says_so(shown):
    page = search(like(shown, k=5), VISITOR)
    cache.clear()
    for search_id in (page.search_id, "invented", "", "x" * 10_000, "a\nb c"):
        with pytest.raises(SearchExpired, match="expired"):
            turn(search_id, VISITOR, number=2)


@pytest.mark.parametrize("number", [0, -1, 10**9])
def test_a_page_that_is_not_there_says_so(shown, number):
    page = search(like(shown, k=5), VISITOR)
    with pytest.raises(QueryInvalid, match="age"):
        turn(page.search_id, VISITOR, number=number)


def test_without_redis_a_page_comes_without_an_id(shown):
    kept_page = search(like(shown, k=5), VISITOR)
    with override_settings(CACHES=nowhere()):
        page = search(like(shown, k=5), VISITOR)
        for ask in (lambda: turn(kept_page.search_id, VISITOR, number=2),
                    lambda: totals(kept_page.search_id, VISITOR)):  # fmt: skip
            with pytest.raises(SearchUnavailable, match=r"Redis\) does not answer"):
                ask()
    assert len(page.hits) == 5
    assert page.search_id == ""


def test_a_redis_that_does_not_answer_is_asked_once_in_a_while():
    with override_settings(CACHES=nowhere()):
        with pytest.raises(kept.NotKept) as first:
            kept.read("anything")
        with pytest.raises(kept.NotKept) as second:
            kept.read("anything")
    assert first.value.__cause__ is not None  # the answer of the socket
    assert second.value.__cause__ is None  # nobody was asked


@pytest.fixture
def read_only():
    """A Redis that answers and takes nothing."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.config_set("min-replicas-to-write", 1)
    yield
    client.config_set("min-replicas-to-write", 0)
    client.close()


def test_a_redis_that_takes_nothing_does_not_keep_a_later_page_back(shown, request):
    page = search(like(shown, k=5), VISITOR)
    request.getfixturevalue("read_only")
    second = turn(page.search_id, VISITOR, number=2)
    assert [hit.rank for hit in second.hits] == [6, 7, 8, 9, 10]
    assert totals(page.search_id, VISITOR).total > 10
    assert search(like(shown, k=5), VISITOR).search_id == ""


def rankings_kept():
    return [key for key in cache._cache.get_client().keys("*ranking-*") if b"slots" not in key]


@pytest.mark.parametrize("order", [Order.RELEVANCE, Order.NAME])
def test_a_whole_ranking_that_is_lost_is_not_made_of_other_images(shown, monkeypatch, order):
    monkeypatch.setattr(searches, "LONGEST_HEAD", 20)
    page = search(like(shown, k=5, order=order, least_band=Band.UNLIKELY), VISITOR)
    assert len(turn(page.search_id, VISITOR, number=12).hits) == 5
    cache._cache.get_client().delete(*rankings_kept())
    with pytest.raises(SearchExpired, match="search again"):
        turn(page.search_id, VISITOR, number=13)
    with pytest.raises(SearchExpired):
        facets(page.search_id, VISITOR, ("tag",))
    assert len(turn(page.search_id, VISITOR, number=1).hits) == 5


@pytest.mark.parametrize("order", [Order.RELEVANCE, Order.NAME])
def test_a_viewers_newest_whole_rankings_are_kept_and_no_more(shown, monkeypatch, order):
    monkeypatch.setattr(searches, "LONGEST_HEAD", 20)
    monkeypatch.setattr(searches, "WHOLE_RANKINGS", 3)
    cache.clear()
    ann, bob = make_user("ann"), make_user("bob")
    query = like(shown, k=5, order=order, least_band=Band.UNLIKELY)
    bobs = search(query, bob)
    turn(bobs.search_id, bob, number=9)
    mine = [search(query, ann).search_id for _ in range(5)]
    for one in mine[-3:] if order == Order.NAME else mine:
        assert len(turn(one, ann, number=9).hits) == 5
    for one in mine[:2]:
        with pytest.raises(SearchExpired):
            turn(one, ann, number=9)
    for one in mine[2:]:
        assert len(turn(one, ann, number=9).hits) == 5
    assert len(turn(bobs.search_id, bob, number=9).hits) == 5
    assert len(rankings_kept()) == 4


def test_an_order_of_many_hits_holds_still_though_its_beginning_alone_is_kept_with_it(
    shown, monkeypatch
):
    monkeypatch.setattr(searches, "LONGEST_HEAD", 20)
    query = like(shown, k=7, order=Order.ADDED, least_band=Band.UNLIKELY)
    whole = ids_of(search(like(shown, k=500, order=Order.ADDED, least_band=Band.UNLIKELY), VISITOR))
    page = search(query, VISITOR)
    Image.objects.update(added_at=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    seen = ids_of(page)
    for number in range(2, 30):
        seen += ids_of(turn(page.search_id, VISITOR, number=number))
    assert seen == whole


def test_totals_count_what_the_bands_leave_out(shown):
    page = search(like(shown, k=5), VISITOR)
    counted = totals(page.search_id, VISITOR)
    everything = search(like(shown, k=500, least_band=Band.UNLIKELY), VISITOR)
    by_band = {band: sum(hit.band == band for hit in everything.hits) for band in Band}
    assert counted.by_band == by_band
    assert counted.total == by_band[Band.LIKELY] + by_band[Band.MAYBE]
    assert sum(counted.by_band.values()) == NEAR + FAR
    assert not counted.is_capped
    assert counted == totals(page.search_id, VISITOR)


def test_totals_count_maybes_that_are_not_shown(shown):
    bands = totals(search(like(shown, k=5), VISITOR).search_id, VISITOR).by_band
    page = search(like(shown, k=5, least_band=Band.LIKELY), VISITOR)
    counted = totals(page.search_id, VISITOR)
    assert counted.by_band == bands
    assert counted.total == bands[Band.LIKELY]


def test_a_ranking_reaches_past_its_first_depths(shown, monkeypatch):
    monkeypatch.setattr(rankings, "DEPTHS", (10, 50, rankings.LONGEST))
    whole = [hit for page in pages(like(shown, k=7, least_band=Band.UNLIKELY)) for hit in page.hits]
    assert len({hit.image.pk for hit in whole}) == NEAR + FAR
    by_name = search(like(shown, k=500, order=Order.NAME, least_band=Band.UNLIKELY), VISITOR)
    assert len(by_name.hits) == NEAR + FAR


def test_where_all_is_wanted_no_depth_is_tried_that_cannot_reach_it(shown, monkeypatch):
    tried = []
    make = rankings.make

    def noted(query, sources, depth):
        tried.append(depth)
        return make(query, sources, depth)

    monkeypatch.setattr(rankings, "make", noted)
    monkeypatch.setattr(rankings, "DEPTHS", (10, 50, 1000, rankings.LONGEST))
    search(like(shown, k=500, order=Order.NAME, least_band=Band.UNLIKELY), VISITOR)
    assert tried == [1000]
    tried.clear()
    search(like(shown, k=500, order=Order.NAME, least_band=Band.UNLIKELY, min_score=0.9), VISITOR)
    assert tried == [10, 50]
    tried.clear()
    search(like(shown, k=500, order=Order.NAME), VISITOR)
    assert tried == [10, 50]  # what is relevant may end there


def test_of_a_database_that_was_restored_nothing_of_the_one_before_is_taken(shown):
    """Another encoder's space may have the number of one that this process knows."""
    space = Space.objects.get()
    page = search(like(shown, k=5), VISITOR)
    assert background.drawn_lately(ImageEmbedding, space).population == 1 + NEAR + FAR
    known = live.index_of(ImageEmbedding, space)
    assert live.index_of(ImageEmbedding, Space.objects.get()) is known

    Space.objects.update(name="another", dimensions=24)
    ImageEmbedding.objects.all().delete()
    with pytest.raises(SearchExpired):
        turn(page.search_id, VISITOR, number=9)
    other = Space.objects.get()
    assert background.drawn_lately(ImageEmbedding, other).population == 0
    assert live.index_of(ImageEmbedding, other).space.dimensions == 24


def test_a_ranking_that_is_longer_than_any_says_so(shown, monkeypatch):
    monkeypatch.setattr(rankings, "DEPTHS", (10, 50))
    page = search(like(shown, k=7, least_band=Band.UNLIKELY), VISITOR)
    counted = totals(page.search_id, VISITOR)
    assert counted.is_capped
    assert counted.total == 50
    last = turn(page.search_id, VISITOR, number=8)
    assert len(last.hits) == 1
    assert not last.has_more


def test_a_search_asks_postgres_little(shown, settings):
    search(like(shown, k=5), VISITOR)
    settings.INDEX_POLL_SECONDS = 60  # as if a thread kept the index current
    with CaptureQueriesContext(connection) as asked:
        search(like(shown, k=24), VISITOR)
    tags = [row for row in asked.captured_queries if "gallery_tag" in row["sql"]]
    assert len(tags) == 1  # with the images, in one statement
    assert len(asked) <= 7


def test_hits_come_with_their_tags(shown):
    first = search(like(shown, k=3), VISITOR).hits[0].image
    for name in ("sea", "boat"):
        Tag.objects.create(name=name).images.add(first)
    hit = search(like(shown, k=3), VISITOR).hits[0]
    with CaptureQueriesContext(connection) as asked:
        assert hit.tags == ("boat", "sea")
    assert len(asked) == 0


def test_facets_count_the_whole_relevant_set_and_no_hidden_image(shown):
    page = search(like(shown, k=3), VISITOR)
    hidden = page.hits[0].image
    Image.objects.update(category="boats")
    (facet,) = facets(page.search_id, VISITOR, ("category",))
    whole = totals(page.search_id, VISITOR).total
    assert [count.count for count in facet.counts] == [whole]
    Image.objects.filter(pk=hidden.pk).update(visibility=Visibility.PRIVATE)
    (facet,) = facets(page.search_id, VISITOR, ("category",))
    assert [count.count for count in facet.counts] == [whole - 1]
    with pytest.raises(QueryInvalid):
        facets(page.search_id, VISITOR, ("password",))


def test_totals_keep_to_the_filter_and_to_rights(shown):
    Image.objects.filter(pk__in=Image.objects.order_by("-pk")[:50].values("pk")).update(
        visibility=Visibility.PRIVATE
    )
    for viewer, seen in ((VISITOR, 150), (make_user("bob"), 150), (make_user(), 200)):
        page = search(like(shown, k=5), viewer)
        assert sum(totals(page.search_id, viewer).by_band.values()) == seen
    narrow = search(like(shown, k=5, filter=conditions(visibility="private")), make_user())
    assert sum(totals(narrow.search_id, make_user()).by_band.values()) == 50


def test_nothing_relevant_is_an_empty_page_that_says_how_many_are_unlikely(shown):
    stranger = make_images(1)
    far = -np.array(ImageEmbedding.objects.order_by("image_id").first().vector)
    store(stranger, normalise(far)[None], ImageEmbedding.objects.first().space)
    likely = [hit.image.pk for hit in search(like(shown, k=500), VISITOR).hits]
    ImageEmbedding.objects.filter(image__in=likely).delete()
    page = search(like(shown, k=5, least_band=Band.LIKELY), VISITOR)
    assert page.hits == ()
    assert not page.has_more
    counted = totals(page.search_id, VISITOR)
    assert counted.total == 0
    assert counted.by_band[Band.UNLIKELY] > 100


def test_a_least_score_cuts_the_ranking(shown):
    everything = search(like(shown, k=500, least_band=Band.UNLIKELY), VISITOR).hits
    least = everything[10].score
    page = search(like(shown, k=500, least_band=Band.UNLIKELY, min_score=least), VISITOR)
    assert [hit.score for hit in page.hits] == [h.score for h in everything if h.score >= least]
    assert not page.has_more
    assert totals(page.search_id, VISITOR).total == len(page.hits)


def test_orders_sort_the_whole_relevant_set_with_the_unknown_last(shown):
    relevant = set(ids_of(search(like(shown, k=500), VISITOR)))
    for place, image in enumerate(Image.objects.order_by("?")):
        image.width, image.height = place % 7 + 1, 10
        image.original_name = "" if place % 5 == 0 else f"{'aB'[place % 2]}{place % 11}.png"
        day = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(place % 13)
        image.taken_at = None if place % 4 == 0 else day
        image.save()
    key_by_order = {
        Order.TAKEN: lambda image: image.taken_at,
        Order.ADDED: lambda image: image.added_at,
        Order.NAME: lambda image: image.original_name.lower() or None,
        Order.SIZE: lambda image: image.width * image.height,
    }
    for order, key in key_by_order.items():
        for wanted, is_reverse in ((order, False), (Order(f"-{order}"), True)):
            found = [
                hit.image for page in pages(like(shown, k=9, order=wanted)) for hit in page.hits
            ]
            assert {image.pk for image in found} == relevant
            values = [key(image) for image in found]
            known = [value for value in values if value is not None]
            assert known == sorted(known, reverse=is_reverse)
            assert values[len(known) :] == [None] * (len(values) - len(known))


def test_equals_keep_their_relevance(shown):
    by_relevance = ids_of(search(like(shown, k=500), VISITOR))
    assert ids_of(search(like(shown, k=500, order=Order.SIZE), VISITOR)) == by_relevance


def test_diversity_changes_the_order_and_nothing_else(shown):
    plain = search(like(shown, k=30), VISITOR)
    assert ids_of(search(like(shown, k=30, diversity=0.0), VISITOR)) == ids_of(plain)
    diverse = [hit for page in pages(like(shown, k=10, diversity=0.7)) for hit in page.hits]
    relevant = [hit for page in pages(like(shown, k=10)) for hit in page.hits]
    assert {hit.image.pk for hit in diverse} == {hit.image.pk for hit in relevant}
    assert [hit.image.pk for hit in diverse] != [hit.image.pk for hit in relevant]
    assert diverse[0].image.pk == relevant[0].image.pk


def test_several_images_find_by_the_nearest_of_them(shown):
    space = ImageEmbedding.objects.first().space
    chosen = list(Image.objects.order_by("pk")[60:63])
    vectors = np.array(
        [ImageEmbedding.objects.get(image=image).vector for image in chosen], dtype=np.float32
    )
    terms = tuple(ImageTerm(image.uuid) for image in chosen)
    query = Query(
        terms=terms, aggregate=Aggregate.MAX, k=20, least_band=Band.UNLIKELY,
    )  # fmt: skip
    rows = dict(ImageEmbedding.objects.filter(space=space).values_list("image_id", "vector"))
    score_by_id = {
        pk: float((vectors @ np.array(vector)).max())
        for pk, vector in rows.items()
        if pk not in {image.pk for image in chosen}
    }
    page = search(query, VISITOR)
    best = sorted(score_by_id.values(), reverse=True)[:20]
    assert [hit.score for hit in page.hits] == pytest.approx(best, abs=1e-3)


def test_several_images_find_by_rank(shown):
    chosen = list(Image.objects.order_by("pk")[60:62])
    terms = tuple(ImageTerm(image.uuid) for image in chosen)
    query = Query(terms=terms, aggregate=Aggregate.RECIPROCAL_RANK, k=20,
                  least_band=Band.UNLIKELY)  # fmt: skip
    page = search(query, VISITOR)
    alone = [
        [pk for pk in ids_of(search(like(image.uuid, k=500, least_band=Band.UNLIKELY), VISITOR))
         if pk not in {other.pk for other in chosen}]
        for image in chosen
    ]  # fmt: skip
    best = page.hits[0]
    expected = sum(1 / (61 + ranking.index(best.image.pk)) for ranking in alone)
    assert best.score == pytest.approx(expected, rel=1e-5)


def named(**fields):
    return Image.objects.filter(pk__in=make_images(1, **fields)).get().pk


def words(text, **fields):
    return Query(terms=(TextTerm(text),), mode=Mode.KEYWORD, **fields)


def test_keywords_find_captions_in_any_form_and_file_names_as_they_are():
    both = named(caption="Two running horses", original_name="IMG-4711 beach.jpg")
    one = named(caption="A horse", original_name="x.jpg")
    assert set(ids_of(search(words("horse"), VISITOR))) == {both, one}
    assert ids_of(search(words("a horse runs"), VISITOR)) == [both]
    assert ids_of(search(words("4711"), VISITOR)) == [both]
    assert ids_of(search(words("4711 run"), VISITOR)) == [both]
    assert ids_of(search(words("horse -running"), VISITOR)) == [one]
    assert ids_of(search(words('"running horses"'), VISITOR)) == [both]
    assert ids_of(search(words('"horses running"'), VISITOR)) == []
    assert set(ids_of(search(words("beach or horse"), VISITOR))) == {both, one}


def test_keywords_keep_to_rights_and_to_the_filter():
    mine = named(caption="horse", visibility=Visibility.PRIVATE)
    named(caption="horse", visibility=Visibility.PRIVATE, owner=make_user("bob"))
    assert ids_of(search(words("horse"), VISITOR)) == []
    assert ids_of(search(words("horse"), make_user())) == [mine]
    public = conditions(visibility="public")
    assert ids_of(search(words("horse", filter=public), make_user())) == []


def test_keywords_need_a_text_that_holds_words():
    for query in (Query(good=(uuid.uuid4(),), mode=Mode.KEYWORD), words("the of"), words("!?")):
        with pytest.raises(QueryInvalid):
            search(query, VISITOR)


def test_a_minus_stands_for_not_as_postgres_has_it():
    boat = named(caption="A boat", original_name="x.jpg")
    house = named(caption="A house", original_name="x.jpg")
    for text in ("- boat", "-boat", "house - boat", "-  -- boat", "!-boat", "(- boat)"):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM gallery_image WHERE full_text @@ websearch_to_tsquery(%s)", [text]
            )
            assert cursor.fetchall() == [(house,)], text
        assert ids_of(search(words(text), VISITOR)) == [house], text
    assert ids_of(search(words("-- boat"), VISITOR)) == [boat]
    assert ids_of(search(words("boat -"), VISITOR)) == [boat]


def test_a_word_that_is_said_a_hundred_times_is_looked_for_once():
    boat = named(caption="A red boat", original_name="x.jpg")
    query = words("boat Red " * 99)
    assert ids_of(search(query, VISITOR)) == [boat]
    assert tsquery_of(query) == tsquery_of(words("boat red"))
    texts = Query(terms=query.terms * 16, mode=Mode.KEYWORD)
    assert tsquery_of(texts) == tsquery_of(query)


def test_a_keyword_query_has_at_most_32_words_all_texts_together():
    names = [f"boat{number}" for number in range(33)]
    assert tsquery_of(words(" ".join([*names[:32], "the", "of"]))).count("&") == 31
    halves = (TextTerm(" ".join(names[:17])), TextTerm(" ".join(names[17:]), -1.0))
    for query in (
        words(" ".join(names)),
        words(f'"{" ".join(names)}"'),
        words("|".join(names)),
        words(" or ".join(names)),
        words(" ".join(str(number) for number in range(150))),
        Query(terms=halves, mode=Mode.KEYWORD),
        Query(terms=halves, mode=Mode.HYBRID),
    ):
        with pytest.raises(QueryInvalid, match="at most 32 words"):
            tsquery_of(query)


def test_an_image_that_the_query_names_is_no_hit_of_its_words_either(library_of_words):
    named_ = Image.objects.filter(caption="A red boat at night").order_by("pk")
    like_, good, bad = (image.uuid for image in named_[:3])
    terms = (*library_of_words.terms, ImageTerm(like_))
    query = replace(library_of_words, terms=terms, good=(good,), bad=(bad,))
    found = ids_of(search(query, VISITOR))
    assert not {image.pk for image in named_[:3]} & set(found)
    assert {image.pk for image in named_[3:]} < set(found)


def test_hybrid_fuses_the_ranks_of_vectors_and_words(library_of_words):
    query = library_of_words
    page = search(query, VISITOR)
    image, words_ = page.legs
    assert (image.leg, words_.leg) == (Leg.IMAGE, Leg.KEYWORD)
    ids = ids_of(page)
    by_vector = ids_of(search(Query(terms=query.terms, k=500, least_band=Band.UNLIKELY), VISITOR))
    by_word = ids_of(search(words(query.terms[0].text, k=500), VISITOR))
    for hit in page.hits:
        pk = hit.image.pk
        expected = 1 / (61 + by_vector.index(pk))
        if pk in by_word:
            expected += 2 / (61 + by_word.index(pk))
        assert hit.score == pytest.approx(expected, rel=1e-5)
    assert ids[0] in by_word


@pytest.fixture
def library_of_words():
    space = spaces.ensure()
    ids = make_images(30)
    store(ids, make_vectors(30, dimensions=space.dimensions), space)
    for pk in ids[:6]:
        Image.objects.filter(pk=pk).update(caption="A red boat at night")
    legs = ((Leg.CAPTION, 0.0), (Leg.KEYWORD, 2.0))
    terms = (TextTerm("red boat"),)
    return Query(terms=terms, mode=Mode.HYBRID, legs=legs, k=30, least_band=Band.UNLIKELY)


def test_a_leg_of_weight_nought_is_left_out_and_none_left_is_refused(shown):
    with pytest.raises(QueryInvalid, match="weight 0"):
        search(like(shown, legs=((Leg.IMAGE, 0.0),)), VISITOR)
    page = search(like(shown, mode=Mode.HYBRID, legs=((Leg.CAPTION, 0.0),)), VISITOR)
    assert [leg.leg for leg in page.legs] == [Leg.IMAGE]  # no text: nothing for the keyword leg


def test_the_caption_leg_finds_an_image_by_its_best_caption(shown):
    space = ImageEmbedding.objects.first().space
    centre = np.array(ImageEmbedding.objects.order_by("image_id").first().vector, dtype=np.float32)
    images = list(Image.objects.order_by("pk")[50:53])
    opposite = -centre
    for image, vectors in zip(
        images, ([opposite, centre], [opposite] * 3, [centre + 0.5 * opposite]), strict=True
    ):
        for number, vector in enumerate(vectors):
            caption = Caption.objects.create(image=image, text=str(number), source="test")
            CaptionEmbedding.objects.create(
                caption=caption, space=space, vector=normalise(vector).tolist()
            )
    legs = ((Leg.IMAGE, 0.0), (Leg.CAPTION, 1.0))
    page = search(like(shown, legs=legs, k=10, least_band=Band.UNLIKELY), VISITOR)
    assert set(ids_of(page)[:2]) == {images[0].pk, images[2].pk}
    assert len(page.hits) == 3
    assert page.hits[0].score == pytest.approx(1.0, abs=2e-3)
    assert page.hits[2].score == pytest.approx(-1.0, abs=2e-3)


def test_totals_of_captions_alone_count_all_that_pass(shown):
    space = ImageEmbedding.objects.first().space
    centre = np.array(ImageEmbedding.objects.order_by("image_id").first().vector, dtype=np.float32)
    images = list(Image.objects.order_by("pk")[1:101])
    moved = normalise(np.linspace(0.1, 3, 100)[:, None] * make_vectors(100, seed=5) + centre)
    for image, vector in zip(images, moved, strict=True):
        for text in ("this", "that"):
            caption = Caption.objects.create(image=image, text=text, source="test")
            CaptionEmbedding.objects.create(caption=caption, space=space, vector=vector.tolist())
    legs = ((Leg.IMAGE, 0.0), (Leg.CAPTION, 1.0))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rankings, "DEPTHS", (30, 60))
        page = search(like(shown, legs=legs, k=3), VISITOR)
        counted = totals(page.search_id, VISITOR)
    assert 0 < counted.total < 60
    assert sum(counted.by_band.values()) == 100
    both = search(like(shown, legs=((Leg.CAPTION, 1.0),), k=3), VISITOR)
    assert sum(totals(both.search_id, VISITOR).by_band.values()) == NEAR + FAR
