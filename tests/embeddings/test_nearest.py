from __future__ import annotations

import numpy as np
import pytest
from django.db import connection, transaction

from embeddings import live, snapshots
from embeddings.errors import TransactionOpen, VectorInvalid
from embeddings.nearest import nearest, nearest_exactly
from gallery.models import Image, ImageEmbedding
from tests.rows import make_images, make_space, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 300


@pytest.fixture
def library(settings):
    settings.INDEX_POLL_SECONDS = 1e-6  # a test does not wait for the next poll
    settings.INDEX_NARROW_FILTER = 20
    live.forget_all()
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
    assert found.plan.route == "faiss"
    assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=10))


@pytest.mark.parametrize(
    ("one_in", "route"),
    [(1, "faiss, over-fetched"), (4, "faiss, among the filtered"), (30, "postgres")],
)
def test_it_finds_all_k_under_a_filter(library, one_in, route):
    space, ids = library
    within = Image.objects.filter(pk__in=ids[::one_in].tolist())
    k = min(30, len(ids[::one_in]))
    found = nearest(ImageEmbedding, space, QUERY, k=k, within=within)
    assert found.plan.route == route
    assert len(found.ids) == k
    assert_same(found, nearest_exactly(ImageEmbedding, space, QUERY, k=k, within=within))


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
    space, _ = library
    same = make_images(60)
    store(same, np.repeat(QUERY[None], 60, axis=0), space)
    expected = same[:10].tolist()
    live.forget_all()
    for _ in range(2):
        assert nearest_exactly(ImageEmbedding, space, QUERY, k=10).ids.tolist() == expected
        assert nearest(ImageEmbedding, space, QUERY, k=60).ids.tolist() == same.tolist()
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
