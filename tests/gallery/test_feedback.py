from __future__ import annotations

import uuid

import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser

from embeddings import live
from embeddings.vectors import normalise
from gallery.errors import QueryInvalid
from gallery.models import Image, Visibility
from gallery.query import MAX_EXAMPLES, Band, ImageTerm, Query
from gallery.search import search
from tests.rows import DIMENSIONS, make_images, make_space, make_user, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)

VISITOR = AnonymousUser()


@pytest.fixture
def library(settings):
    """Images with random vectors, by public id, in the order of their rows."""
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    ids, vectors = make_images(120), make_vectors(120)
    store(ids, vectors, make_space())
    uuid_by_id = dict(Image.objects.values_list("pk", "uuid"))
    return {uuid_by_id[int(pk)]: vector for pk, vector in zip(ids, vectors, strict=True)}


def ranking(**fields):
    page = search(Query(k=500, least_band=Band.UNLIKELY, **fields), VISITOR)
    return {hit.image.uuid: hit.score for hit in page.hits}


def judged(library, direction, named):
    """Score every image that is not named, by numpy."""
    direction = normalise(direction)
    return {key: float(vector @ direction) for key, vector in library.items() if key not in named}


def test_good_and_bad_images_move_the_query_as_rocchio_says(library):
    query, good1, good2, bad = named = list(library)[:4]
    found = ranking(terms=(ImageTerm(query),), good=(good1, good2), bad=(bad,))
    direction = library[query] + 0.75 * (library[good1] + library[good2]) / 2 - 0.15 * library[bad]
    assert found == pytest.approx(judged(library, direction, named), abs=2e-3)


def test_good_images_alone_are_a_query(library):
    one, two = list(library)[:2]
    found = ranking(good=(one, two))
    assert found == pytest.approx(
        judged(library, library[one] + library[two], (one, two)), abs=2e-3
    )


def test_bad_images_alone_are_none(library):
    with pytest.raises(QueryInvalid, match="what to look for"):
        Query(bad=(next(iter(library)),))


def test_an_image_that_is_good_is_worth_no_more_when_it_is_named_twice(library):
    query, good = list(library)[:2]
    once = ranking(terms=(ImageTerm(query),), good=(good,))
    assert ranking(terms=(ImageTerm(query),), good=(good, good)) == pytest.approx(once, abs=1e-6)


@pytest.mark.parametrize("role", ["terms", "good", "bad"])
def test_an_image_of_somebody_else_is_told_like_a_missing_one(library, role):
    known = next(iter(library))
    hidden = Image.objects.get(
        pk=make_images(1, visibility=Visibility.PRIVATE, owner=make_user("bob"))[0]
    )
    sentences = set()
    for unseen in (hidden.uuid, uuid.uuid4()):
        fields = {"terms": (ImageTerm(known),), "good": (), "bad": ()}
        fields[role] = (ImageTerm(unseen),) if role == "terms" else (unseen,)
        with pytest.raises(QueryInvalid) as refusal:
            search(Query(**fields), VISITOR)
        sentences.add(str(refusal.value))
    assert len(sentences) == 1


def test_a_thousand_examples_are_refused():
    with pytest.raises(QueryInvalid, match=str(MAX_EXAMPLES)):
        Query(good=tuple(uuid.uuid4() for _ in range(1000)))


def test_an_image_that_takes_itself_away_leaves_nothing(library):
    one = next(iter(library))
    for weight in (1.0, 0.3):
        terms = (ImageTerm(one, weight), ImageTerm(one, -weight / 3), ImageTerm(one, -weight / 1.5))
        with pytest.raises(QueryInvalid, match="cancel"):
            search(Query(terms=terms), VISITOR)


def test_examples_that_lie_opposite_one_another_leave_nothing_alone(library):
    space = Image.objects.first().embeddings.first().space
    there = make_vectors(1, seed=8, dimensions=DIMENSIONS)
    ids = make_images(2)
    store(ids, np.concatenate([there, -there]), space)
    good = tuple(Image.objects.filter(pk__in=ids).values_list("uuid", flat=True))
    with pytest.raises(QueryInvalid, match="cancel"):
        search(Query(good=good), VISITOR)
    named = next(iter(library))
    assert ranking(terms=(ImageTerm(named),), good=good)  # beside a term they say nothing
