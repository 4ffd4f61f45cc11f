from __future__ import annotations

import datetime
import uuid

import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser
from PIL import Image as PillowImage

from embeddings import live
from embeddings.models import Space
from gallery import spaces
from gallery.errors import QueryInvalid, SearchUnavailable
from gallery.models import Album, Image, ImageEmbedding, State, Tag, Visibility
from gallery.query import ImageTerm, Leg, PixelsTerm, Query, TextTerm, conditions
from gallery.search import search, text_vector
from tests.rows import make_images, make_user, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)

VISITOR = AnonymousUser()


@pytest.fixture
def library(settings):
    """Ten public images of ann, ten private ones, ten private ones of bob; with vectors."""
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    space = spaces.ensure()
    ids = {
        "public": make_images(10),
        "private": make_images(10, visibility=Visibility.PRIVATE),
        "bob's": make_images(10, visibility=Visibility.PRIVATE, owner=make_user("bob")),
    }
    everything = np.concatenate(list(ids.values()))
    store(everything, make_vectors(30, dimensions=space.dimensions), space)
    return {name: set(some.tolist()) for name, some in ids.items()}


def found(query, viewer=VISITOR):
    return [hit.image.pk for hit in search(query, viewer).hits]


BOAT = Query(terms=(TextTerm("a boat"),), k=100)


def test_everyone_finds_what_they_may_see_and_nothing_else(library):
    assert set(found(BOAT)) == library["public"]
    assert set(found(BOAT, make_user())) == library["public"] | library["private"]
    assert set(found(BOAT, make_user("bob"))) == library["public"] | library["bob's"]
    root = make_user("root", is_superuser=True)
    assert set(found(BOAT, root)) == set.union(*library.values())


def test_without_public_search_a_visitor_finds_nothing(library, settings):
    settings.PUBLIC_SEARCH = False
    assert found(BOAT) == []
    assert found(BOAT, make_user("new")) != []


def test_hits_come_best_first_with_rank_and_score(library):
    page = search(BOAT, VISITOR)
    assert [hit.rank for hit in page.hits] == list(range(1, 11))
    scores = [hit.score for hit in page.hits]
    assert scores == sorted(scores, reverse=True)
    vector = text_vector(spaces.active(), "a boat")
    stored = ImageEmbedding.objects.get(image=page.hits[0].image).vector
    assert scores[0] == pytest.approx(float(np.dot(stored, vector)), abs=1e-3)


def test_an_image_is_not_among_those_like_it(library):
    chosen = Image.objects.get(pk=min(library["public"]))
    ids = found(Query(terms=(ImageTerm(chosen.uuid),), k=100))
    assert set(ids) == library["public"] - {chosen.pk}


def test_an_image_that_one_may_not_see_cannot_be_asked_for(library):
    hidden = Image.objects.get(pk=min(library["bob's"]))
    for unseen in (hidden.uuid, uuid.uuid4()):
        with pytest.raises(QueryInvalid, match="no such image"):
            search(Query(terms=(ImageTerm(unseen),)), make_user())


def test_an_image_without_a_vector_yet_says_so(library):
    (waiting,) = make_images(1, state=State.WAITING)
    image = Image.objects.get(pk=waiting)
    with pytest.raises(QueryInvalid, match="still being embedded"):
        search(Query(terms=(ImageTerm(image.uuid),)), VISITOR)


def test_a_shown_image_finds_its_like(library):
    red = PillowImage.new("RGB", (64, 64), "red")
    assert len(found(Query(terms=(PixelsTerm(red),), k=5))) == 5


def test_terms_that_cancel_out_are_refused(library):
    terms = (TextTerm("a boat"), TextTerm("a boat", weight=-1.0))
    with pytest.raises(QueryInvalid, match="cancel"):
        search(Query(terms=terms), VISITOR)


def test_filters_narrow_and_are_combined(library):
    one, two, three = sorted(library["public"])[:3]
    sea, night = Tag.objects.create(name="sea"), Tag.objects.create(name="night")
    sea.images.set([one, two])
    night.images.set([two, three])
    album = Album.objects.create(owner=make_user(), name="Trip")
    Image.objects.filter(pk__in=[one, two]).update(album=album)
    for image_id, day in ((one, 1), (two, 10), (three, 20)):
        taken = datetime.datetime(2026, 5, day, 23, tzinfo=datetime.UTC)
        Image.objects.filter(pk=image_id).update(taken_at=taken)

    def ids(**wanted):
        return set(found(Query(terms=BOAT.terms, filter=conditions(**wanted), k=100)))

    assert ids(tags=("sea",)) == {one, two}
    assert ids(tags=(" Sea", "night")) == {two}
    assert ids(album="Trip", tags=("night",)) == {two}
    assert ids(taken_after=datetime.date(2026, 5, 10)) == {two, three}
    assert ids(taken_before=datetime.date(2026, 5, 10)) == {one, two}
    assert ids(tags=("nothing",)) == set()
    assert ids(visibility="private") == set()


def test_words_that_the_encoder_never_learned_are_told(library):
    page = search(Query(terms=(TextTerm("a zeppelin over a boat"),)), VISITOR)
    assert page.unknown_words == ("zeppelin",)


def test_a_deleted_image_is_gone_at_once(library, settings):
    first = found(BOAT)[0]
    settings.INDEX_POLL_SECONDS = 60
    search(BOAT, VISITOR)
    Image.objects.filter(pk=first).delete()
    assert first not in found(BOAT)


def test_without_a_space_search_is_not_available():
    with pytest.raises(SearchUnavailable, match="not available"):
        search(BOAT, VISITOR)


def test_with_the_encoders_files_gone_search_is_not_available(library):
    Space.objects.update(name="/gone", revision="x")
    with pytest.raises(SearchUnavailable, match="no encoder folder"):
        search(Query(terms=(TextTerm("never asked before"),)), VISITOR)


SENSELESS = {
    "no terms": lambda: Query(terms=()),
    "k of zero": lambda: Query(terms=BOAT.terms, k=0),
    "k of a thousand million": lambda: Query(terms=BOAT.terms, k=10**9),
    "too many terms": lambda: Query(terms=BOAT.terms * 17),
    "a blank text": lambda: Query(terms=(TextTerm("  "),)),
    "a text of a megabyte": lambda: Query(terms=(TextTerm("x" * 1_000_000),)),
    "a NUL": lambda: Query(terms=(TextTerm("a\x00b"),)),
    "a weight that is no number": lambda: Query(terms=(TextTerm("a", weight=float("nan")),)),
    "a weight of nought": lambda: Query(terms=(TextTerm("a", weight=0.0),)),
    "a weight without end": lambda: Query(terms=(TextTerm("a", weight=float("inf")),)),
    "a leg's weight that is no number": lambda: Query(
        terms=BOAT.terms, legs=((Leg.IMAGE, float("nan")),)
    ),
    "a diversity that is no number": lambda: Query(terms=BOAT.terms, diversity=float("nan")),
    "a least score beyond cosines": lambda: Query(terms=BOAT.terms, min_score=1.5),
    "an unknown visibility": lambda: conditions(visibility="friends"),
    "dates in the wrong order": lambda: conditions(
        taken_after=datetime.date(2026, 2, 1), taken_before=datetime.date(2026, 1, 1)
    ),
}


@pytest.mark.parametrize("what", SENSELESS)
def test_a_query_that_makes_no_sense_cannot_be_made(what):
    with pytest.raises(QueryInvalid):
        SENSELESS[what]()
