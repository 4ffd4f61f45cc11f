from __future__ import annotations

import numpy as np
import pytest
from django.db import connection, transaction
from django.db.models import Count

from embeddings import live, snapshots
from embeddings.errors import TransactionOpen, VectorInvalid
from embeddings.nearest import costs, nearest, nearest_exactly, planner, shares
from embeddings.vectors import Route
from gallery.models import Image, ImageEmbedding, Tag
from tests.rows import make_images, make_space, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 300


@pytest.fixture
def library(settings):
    settings.INDEX_POLL_SECONDS = 1e-6  # a test does not wait for the next poll
    settings.INDEX_NARROW_FILTER = 20
    live.forget_all()
    shares.forget_all()
    space, ids = make_space(), make_images(ROWS)
    store(ids, make_vectors(ROWS), space)
    return space, ids


QUERY = make_vectors(1, seed=99)[0]


def assert_same(found, exact):
    np.testing.assert_array_equal(found.ids, exact.ids)
    np.testing.assert_allclose(found.scores, exact.scores, atol=1e-6)


def test_it_finds_what_postgres_finds(library):
    space, _ = library
    found = nearest(ImageEmbedding, space, QUERY, k=10)
    assert found.plan.route == Route.OPEN
    assert found.plan.exact
    assert [step.name for step in found.plan.steps] == ["view", "index", "check"]
    assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=10))


@pytest.mark.parametrize(
    ("one_in", "route"), [(5, Route.SCAN), (8, Route.SCAN), (30, Route.POSTGRES)]
)
def test_it_finds_all_k_under_a_filter(library, one_in, route):
    space, ids = library
    within = Image.objects.filter(pk__in=ids[::one_in].tolist())
    k = min(30, len(ids[::one_in]) // 2)
    exact = nearest_exactly(ImageEmbedding, space, QUERY, k=k, within=within)
    for _ in range(2):  # the ids are read, and remembered
        found = nearest(ImageEmbedding, space, QUERY, k=k, within=within)
        assert found.plan.route == route
        assert len(found.ids) == k
        assert_same(found, exact)


def test_every_route_gives_the_same_when_it_is_forced(library):
    space, ids = library
    half = Image.objects.filter(pk__in=ids[::2].tolist())
    # A filter turns an open search into an over-fetched one, and the reverse.
    taken = {Route.OPEN: Route.OVER_FETCH, Route.OVER_FETCH: Route.OPEN}
    for within in (None, half):
        exact = nearest_exactly(ImageEmbedding, space, QUERY, k=40, within=within)
        for route in Route:
            found = nearest(ImageEmbedding, space, QUERY, k=40, within=within, route=route)
            assert_same(found, exact)
            is_turned = (within is None) == (route == Route.OVER_FETCH)
            assert found.plan.route == (taken.get(route, route) if is_turned else route)


def test_a_forced_route_that_finds_too_few_gives_way_and_says_so(library):
    space, ids = library
    within = Image.objects.filter(pk__in=ids[::30].tolist())
    found = nearest(ImageEmbedding, space, QUERY, k=10, within=within, route=Route.OVER_FETCH)
    assert (found.plan.route, found.plan.reason) == (Route.POSTGRES, "too few")
    assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=10, within=within))


@pytest.fixture(params=["hnsw8", "pq8"])
def coarse(request, settings):
    """A library under an approximate index that holds vectors of 8 bits."""
    settings.INDEX_POLL_SECONDS = 1e-6
    settings.INDEX_NARROW_FILTER = 20
    settings.INDEX_RECALL = 0.5
    live.forget_all()
    space, ids = make_space(), make_images(2000)
    store(ids, make_vectors(2000), space)
    snapshots.build(ImageEmbedding, space, kind=request.param)
    live.forget_all()
    assert live.index_of(ImageEmbedding, space).view().base.kind == request.param
    return space, ids


def test_scores_of_a_coarse_index_are_those_of_postgres(coarse):
    space, ids = coarse
    half = Image.objects.filter(pk__in=ids[::2].tolist())
    score_by_id = nearest_exactly(ImageEmbedding, space, QUERY, k=2000)
    true = dict(zip(score_by_id.ids.tolist(), score_by_id.scores.tolist(), strict=True))
    for within, route in ((None, Route.OPEN), (half, Route.OVER_FETCH), (half, Route.SCAN)):
        found = nearest(ImageEmbedding, space, QUERY, k=20, within=within, route=route)
        assert found.plan.route == route
        assert not found.plan.exact
        assert found.plan.recall == live.index_of(ImageEmbedding, space).view().recall
        np.testing.assert_allclose(found.scores, [true[i] for i in found.ids.tolist()], atol=1e-6)
        assert sorted(found.scores, reverse=True) == found.scores.tolist()


def test_a_wide_filter_is_over_fetched_at_once_or_after_a_first_try(coarse, monkeypatch):
    space, ids = coarse
    steps = {}
    # Passing by a vector is dear, so that the small table of a test is as a large one.
    monkeypatch.setattr(costs, "_BIT", 10.0)
    monkeypatch.setattr(planner, "FEW", 30)
    for one_in in (1, 4, 40):
        within = Image.objects.filter(pk__in=ids[::one_in].tolist())
        found = nearest(ImageEmbedding, space, QUERY, k=10, within=within)
        steps[one_in] = [step.name for step in found.plan.steps]
        assert len(found.ids) == 10
    assert steps[1].count("index") == 1
    assert "scan" not in steps[1] + steps[4]
    assert "scan" in steps[40] or steps[40].count("index") == 1


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_filter_that_was_wide_is_over_fetched_at_once(library, settings, kind):
    space, ids = library
    settings.INDEX_RECALL = 0.5
    snapshots.build(ImageEmbedding, space, kind=kind)
    within = Image.objects.filter(visibility="public")

    def found_and_steps():
        found = nearest(ImageEmbedding, space, QUERY, k=10, within=within)
        assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=10, within=within))
        return found, [step.name for step in found.plan.steps]

    found_and_steps()
    found, steps = found_and_steps()
    assert found.plan.route == Route.OVER_FETCH
    assert steps == ["view", "index", "check"]
    # What is remembered is only a guess: here it is wrong by now.
    Image.objects.filter(pk__in=ids[: len(ids) * 19 // 20].tolist()).update(visibility="private")
    found, steps = found_and_steps()
    assert found.plan.route != Route.OVER_FETCH
    found_and_steps()


def test_a_deep_ranking_is_whole(coarse):
    space, _ = coarse
    found = nearest(ImageEmbedding, space, QUERY, k=1500)
    assert found.plan.route == Route.SCAN
    exact = nearest_exactly(ImageEmbedding, space, QUERY, k=1500)
    assert len(found.ids) == 1500
    assert len(np.intersect1d(found.ids, exact.ids)) >= 1485
    everything = nearest(ImageEmbedding, space, QUERY, k=100_000)
    assert (everything.plan.route, everything.plan.reason) == (Route.POSTGRES, "all of them")
    assert len(everything.ids) == 2000


@pytest.mark.parametrize("k", [1500, 100_000])
def test_where_all_that_pass_are_asked_for_postgres_alone_is_asked(coarse, monkeypatch, k):
    """Whether the index holds no more than k, or it does and fewer pass."""
    monkeypatch.setattr(planner, "FEW", 500)
    space, ids = coarse
    Image.objects.filter(pk__in=ids[1000:].tolist()).update(visibility="private")
    within = Image.objects.filter(visibility="public")
    found = nearest(ImageEmbedding, space, QUERY, k=k, within=within)
    assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=k, within=within))
    assert len(found.ids) == 1000
    assert (found.plan.route, found.plan.reason) == (Route.POSTGRES, "all of them")
    assert not {"index", "scan", "check"} & {step.name for step in found.plan.steps}


def test_without_a_current_index_postgres_answers_and_says_so(library, settings):
    space, ids = library
    within = Image.objects.filter(pk__in=ids[::2].tolist())
    settings.INDEX_MEMORY_MB = 1e-6  # too little for a view without a snapshot
    live.forget_all()
    for filter_ in (None, within):
        found = nearest(ImageEmbedding, space, QUERY, k=5, within=filter_)
        assert (found.plan.route, found.plan.reason) == (Route.POSTGRES, "no current index")
        assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=5, within=filter_))


def test_a_transaction_with_a_snapshot_of_its_own_asks_postgres(library):
    space, _ = library
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = nearest(ImageEmbedding, space, QUERY, k=5)
    assert (found.plan.route, found.plan.reason) == (Route.POSTGRES, "in a transaction")
    with transaction.atomic():
        assert nearest(ImageEmbedding, space, QUERY, k=5).plan.route == Route.OPEN


def test_what_cannot_be_a_filter_is_a_sentence(library):
    space, _ = library
    sentences = [
        ([1, 2], "takes a queryset of Image, not list"),
        (Tag.objects.all(), "takes a queryset of Image; this one is of Tag"),
        (Image.objects.values("category").annotate(n=Count("pk")), "grouped by other"),
        (Image.objects.select_for_update(), "cannot lock rows"),
        (Image.objects.using("elsewhere"), "cannot read another database"),
        (Image.objects.raw("SELECT * FROM gallery_image"), "not RawQuerySet"),
    ]
    for within, sentence in sentences:
        with pytest.raises(TypeError, match=sentence):
            nearest(ImageEmbedding, space, QUERY, k=3, within=within)


def test_any_queryset_can_be_the_filter(library):
    space, ids = library
    Tag.objects.bulk_create([Tag(name="a"), Tag(name="b")])
    for tag in Tag.objects.all():  # both: a join gives each image twice
        tag.images.add(*ids[:100].tolist())
    images, some = Image.objects, ids[::3].tolist()
    querysets = {
        "join": images.filter(tags__name__in=["a", "b"]),
        "distinct": images.filter(tags__name__in=["a", "b"]).distinct(),
        "ordered": images.order_by("tags__name", "-added_at"),
        "values": images.filter(pk__in=some).values("pk", "category"),
        "count": images.annotate(n=Count("tags")).filter(n=2),
        "subquery": images.filter(pk__in=Tag.objects.filter(name="a").values("images")),
        "exclude": images.exclude(tags__name="a"),
        "slice": images.order_by("-pk")[10:90],
        "first of each": images.order_by("owner", "-pk").distinct("owner"),
        "union": images.filter(pk__in=some).union(images.filter(pk__in=ids[:9].tolist())),
        "difference": images.all().difference(images.filter(pk__in=some)),
        "none": images.none(),
        "all": images.all(),
        "union with nothing": images.none().union(images.filter(pk__in=some)),
        "percent": images.filter(original_name__contains="%s%").union(images.filter(pk__in=some)),
    }
    for name, queryset in querysets.items():
        passing = set(queryset.values_list("pk", flat=True))
        for route in (None, *Route):
            found = nearest(ImageEmbedding, space, QUERY, k=25, within=queryset, route=route)
            assert len(found.ids) == min(25, len(passing)), (name, route)
            assert len(set(found.ids.tolist())) == len(found.ids), (name, route)
            assert set(found.ids.tolist()) <= passing, (name, route)


def test_it_finds_nothing_where_nothing_passes(library):
    space, _ = library
    found = nearest(ImageEmbedding, space, QUERY, k=5, within=Image.objects.none())
    assert len(found.ids) == 0


def test_it_never_returns_what_was_deleted_a_moment_ago(library, settings):
    space, _ = library
    settings.INDEX_POLL_SECONDS = 60  # the index does not learn of it
    first = nearest(ImageEmbedding, space, QUERY, k=10)
    Image.objects.filter(pk__in=first.ids[:5].tolist()).delete()
    found = nearest(ImageEmbedding, space, QUERY, k=10)
    assert len(found.ids) == 10
    assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=10))


def test_it_returns_all_when_fewer_than_k_exist(library):
    space, ids = library
    found = nearest(ImageEmbedding, space, QUERY, k=ROWS * 2)
    assert sorted(found.ids.tolist()) == ids.tolist()


def test_an_empty_table_has_no_neighbours(settings):
    live.forget_all()
    assert len(nearest(ImageEmbedding, make_space(), QUERY, k=3).ids) == 0


def test_it_searches_snapshot_and_delta_as_one(library):
    space, ids = library
    snapshots.build(ImageEmbedding, space)
    live.forget_all()
    nearest(ImageEmbedding, space, QUERY, k=1)
    new = make_images(50)
    store(new, make_vectors(50, seed=1), space)
    store(ids[:50], make_vectors(50, seed=2), space)
    ImageEmbedding.objects.filter(image_id__in=ids[50:80].tolist()).delete()
    view = live.index_of(ImageEmbedding, space).refresh()
    assert view.known_snapshot_id
    assert len(view) == ROWS + 20
    for seed in range(20):
        query = make_vectors(1, seed=1000 + seed)[0]
        assert_same(
            nearest(ImageEmbedding, space, query, k=20),
            nearest_exactly(ImageEmbedding, space, query, k=20),
        )


def test_rows_written_by_copy_are_found(library):
    space, _ = library
    nearest(ImageEmbedding, space, QUERY, k=1)
    (new,) = make_images(1).tolist()
    copy = "COPY gallery_imageembedding (image_id, space_id, vector) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.write_row((new, space.pk, str(QUERY.tolist())))
    assert nearest(ImageEmbedding, space, QUERY, k=1).ids.tolist() == [new]


@pytest.mark.parametrize(
    "vector",
    [np.zeros(16), np.full(16, np.nan), np.full(16, np.inf), np.ones(17), np.ones((1, 16))],
    ids=["zero", "nan", "infinite", "wrong width", "wrong shape"],
)
def test_a_vector_without_direction_is_refused(library, vector):
    space, _ = library
    with pytest.raises(VectorInvalid):
        nearest(ImageEmbedding, space, vector.astype(np.float32), k=3)


@pytest.mark.parametrize("k", [0, -1, 10**9])
def test_an_absurd_k_is_refused(library, k):
    space, _ = library
    with pytest.raises(ValueError, match="k must be"):
        nearest(ImageEmbedding, space, QUERY, k=k)


def test_what_is_rolled_back_leaves_no_trace_in_the_index(library):
    space, _ = library
    best = nearest(ImageEmbedding, space, QUERY, k=1).ids.tolist()
    with transaction.atomic():
        Image.objects.filter(pk__in=best).delete()
        inside = nearest(ImageEmbedding, space, QUERY, k=1)
        with pytest.raises(TransactionOpen):
            live.index_of(ImageEmbedding, space).refresh()
        transaction.set_rollback(True)
    assert inside.ids.tolist() != best
    assert nearest(ImageEmbedding, space, QUERY, k=1).ids.tolist() == best


def test_equal_scores_come_by_id_on_every_route(library):
    space, ids = library
    half = Image.objects.filter(pk__gt=int(ids[5]))
    same = make_images(60)
    store(same, np.repeat(QUERY[None], 60, axis=0), space)
    expected = same[:10].tolist()
    live.forget_all()
    for _ in range(2):
        assert nearest_exactly(ImageEmbedding, space, QUERY, k=10).ids.tolist() == expected
        for route in Route:
            for k in (10, 60):
                found = nearest(ImageEmbedding, space, QUERY, k=k, within=half, route=route)
                assert found.ids.tolist() == same[:k].tolist(), (route, k)
        assert nearest(ImageEmbedding, space, QUERY, k=10).ids.tolist() == expected
        store(make_images(1), make_vectors(1, seed=5), space)  # now there is a delta


def test_a_slice_is_a_filter_like_any_other(library):
    space, ids = library
    within = Image.objects.order_by("pk")[:100]
    found = nearest(ImageEmbedding, space, QUERY, k=50, within=within)
    assert set(found.ids.tolist()) <= set(ids[:100].tolist())
    assert len(found.ids) == 50


def test_a_foreign_vector_of_another_width_is_a_sentence(library):
    space, _ = library
    (new,) = make_images(1).tolist()
    ImageEmbedding.objects.create(image_id=new, space=space, vector=[1.0, 0.0])
    live.forget_all()
    with pytest.raises(VectorInvalid, match="has not 16 dimensions"):
        nearest(ImageEmbedding, space, QUERY, k=1)
