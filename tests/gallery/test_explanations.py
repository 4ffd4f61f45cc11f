from __future__ import annotations

import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser

from embeddings import live
from embeddings.vectors import normalise
from gallery import spaces
from gallery.errors import QueryInvalid, SearchExpired
from gallery.models import Caption, CaptionEmbedding, Image, Tag, Visibility
from gallery.query import (
    Aggregate,
    Band,
    ImageTerm,
    Leg,
    Mode,
    Query,
    TextTerm,
    conditions,
)
from gallery.search import explain, search
from tests.rows import make_images, make_user, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)

VISITOR = AnonymousUser()


@pytest.fixture
def library(settings):
    """Eighty images with vectors; the first ten have a caption, with a vector too."""
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    space = spaces.ensure()
    ids = make_images(80)
    vectors = make_vectors(80, dimensions=space.dimensions)
    store(ids, vectors, space)
    Image.objects.filter(pk__in=ids[:10].tolist()).update(caption="A red boat")
    for caption in Caption.objects.filter(image__in=ids[:10].tolist()):
        moved = vectors[caption.image_id - ids[0]] + 0.5 * vectors[0]
        CaptionEmbedding.objects.create(
            caption=caption, space=space, vector=normalise(moved).tolist()
        )
    return list(Image.objects.order_by("pk"))


def everything(**fields):
    return Query(k=100, least_band=Band.UNLIKELY, **fields)


def explained(query, viewer=VISITOR, place=0):
    page = search(query, viewer)
    hit = page.hits[place]
    return hit, explain(page.search_id, viewer, hit.image.uuid)


def test_shares_of_terms_and_examples_add_up_to_the_score(library):
    query = everything(
        terms=(TextTerm("a boat", 2.0), ImageTerm(library[1].uuid), TextTerm("night", -0.5)),
        good=(library[2].uuid, library[3].uuid),
        bad=(library[4].uuid,),
    )
    for place in (0, 30):
        hit, why = explained(query, place=place)
        assert why.hit == hit
        assert [(share.term, share.weight) for share in why.terms] == [
            ("a boat", 2.0),
            ("an image of the library", 1.0),
            ("night", -0.5),
            ("good examples", 0.75),
            ("bad examples", -0.15),
        ]
        assert sum(share.share for share in why.terms) == pytest.approx(hit.score, abs=2e-3)
        assert all(-1 <= share.similarity <= 1 for share in why.terms)


def test_the_nearest_term_alone_explains_a_greatest_score(library):
    terms = (ImageTerm(library[1].uuid), ImageTerm(library[2].uuid, 0.5))
    hit, why = explained(everything(terms=terms, aggregate=Aggregate.MAX))
    assert len(why.terms) == 1
    assert why.terms[0].share == pytest.approx(hit.score, abs=2e-3)


def test_ranks_explain_a_fusion_of_terms(library):
    terms = (ImageTerm(library[1].uuid), ImageTerm(library[2].uuid, 0.5))
    hit, why = explained(everything(terms=terms, aggregate=Aggregate.RECIPROCAL_RANK), place=3)
    assert sum(share.share for share in why.terms) == pytest.approx(hit.score, rel=1e-4)


def test_shares_of_legs_add_up_to_the_fused_score(library):
    hit, why = explained(everything(terms=(TextTerm("red boat"),), mode=Mode.HYBRID))
    assert [share.leg for share in why.legs] == [Leg.IMAGE, Leg.CAPTION, Leg.KEYWORD]
    assert sum(share.share for share in why.legs) == pytest.approx(hit.score, rel=1e-4)
    keyword = why.legs[2]
    assert keyword.rank is not None
    assert keyword.score > 0
    for leg in (Leg.IMAGE, Leg.CAPTION):
        (share,) = [share for share in why.legs if share.leg == leg]
        terms = [term.share for term in why.terms if term.leg == leg]
        assert sum(terms) == pytest.approx(share.score, abs=2e-3)


def test_a_leg_that_does_not_find_an_image_says_so(library):
    hit, why = explained(everything(terms=(TextTerm("red boat"),), mode=Mode.HYBRID), place=70)
    shares = {share.leg: share for share in why.legs}
    assert shares[Leg.KEYWORD].rank is None
    assert shares[Leg.KEYWORD].share == 0
    assert shares[Leg.IMAGE].share == pytest.approx(hit.score, rel=1e-4)


def test_route_encoder_background_and_conditions_are_told(library):
    Tag.objects.create(name="sea").images.set(library)
    kept = conditions(tags=("sea",), visibility="public")
    _, why = explained(everything(terms=(ImageTerm(library[0].uuid),), filter=kept))
    assert why.route == "postgres"
    assert why.encoder == "bundled"
    mean, deviation = why.background
    assert abs(mean) < 0.1
    assert 0 < deviation < 0.3
    assert len(why.conditions) == 2
    assert "sea" in why.conditions[0]


def test_a_background_of_few_images_is_not_told(library):
    Image.objects.filter(pk__in=[image.pk for image in library[49:]]).delete()
    live.forget_all()
    _, why = explained(everything(terms=(ImageTerm(library[0].uuid),)))
    assert why.background == (0.0, 0.0)


def test_an_image_that_is_no_hit_or_hidden_is_not_explained(library):
    page = search(everything(terms=(ImageTerm(library[0].uuid),)), VISITOR)
    with pytest.raises(QueryInvalid, match="not among the hits"):
        explain(page.search_id, VISITOR, library[0].uuid)
    Image.objects.filter(pk=library[5].pk).update(visibility=Visibility.PRIVATE)
    with pytest.raises(Image.DoesNotExist):
        explain(page.search_id, VISITOR, library[5].uuid)
    with pytest.raises(SearchExpired):
        explain(page.search_id, make_user("bob"), library[6].uuid)


def test_a_hit_far_down_is_explained_with_its_rank(library):
    query = Query(terms=(ImageTerm(library[0].uuid),), k=5, least_band=Band.UNLIKELY)
    page = search(query, VISITOR)
    seen = {hit.image.pk for hit in page.hits}
    later = next(image for image in library[1:] if image.pk not in seen)
    why = explain(page.search_id, VISITOR, later.uuid)
    assert why.hit.rank > 5
    assert np.isfinite(why.hit.score)
