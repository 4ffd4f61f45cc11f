"""If k matching rows exist, k come back, each matches, none is another viewer's, and on exact
routes they are the true k: whatever is asked, and whatever happens meanwhile.

One library for all examples. What an example changes it puts back, so that each can be repeated.
`PROMISE_EXAMPLES` sets how many there are for all kinds of index together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddings import feed, live, snapshots
from embeddings.id_sets import id_sets
from embeddings.indexes.contract import Candidates, Mask, VectorIndex
from embeddings.live import View
from embeddings.nearest import costs, nearest, nearest_exactly, planner
from embeddings.vectors import Ids, Neighbours, Route, Vector, normalise
from gallery.models import Image, ImageEmbedding, ImageQuerySet, Tag
from tests.rows import make_images, make_space, make_user

KINDS = ("flat", "hnsw", "hnsw8", "ivf8", "pq", "pq8", "rabitq")
EXAMPLES = int(os.environ.get("PROMISE_EXAMPLES", "300"))
ROWS = 10_500  # enough for every kind to learn from
DIMENSIONS = 16
CLUSTERS = 40
TAGS = {"common": 2, "usual": 7, "rare": 90, "single": ROWS}  # one in so many
TOLERANCE = 1e-5  # of a score: float32 sums, and float16 by its text form


@dataclass
class World:
    """The library, and what may happen to it."""

    space: Any
    ids: Ids
    vectors: dict[int, list[float]]
    viewers: list[Any]
    tags: dict[str, int]
    elsewhere: ThreadPoolExecutor  # one thread, so one further connection

    def put(self, view: View) -> None:
        """Let a view be this process's, as if it had just been loaded."""
        index = live.index_of(ImageEmbedding, self.space)
        index._view = replace(view, position=feed.position(ImageEmbedding))


class Meanwhile:
    """An index during whose searches something happens."""

    def __init__(self, index: VectorIndex, event: Callable[[], None]) -> None:
        self._index, self._event = index, event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        found = self._index.search(query, k, allowed=allowed)
        self._event()
        return found

    def scan(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        found = self._index.scan(query, k, allowed=allowed)
        self._event()
        return found


@pytest.fixture
def world(transactional_db, settings) -> Iterator[World]:
    settings.INDEX_POLL_SECONDS = 1e-6
    settings.INDEX_NARROW_FILTER = 20
    settings.INDEX_RECALL = 0.8  # a kind that falls short would be replaced by a safer one
    id_sets.forget_all()
    live.forget_all()
    with ThreadPoolExecutor(1) as elsewhere:
        try:
            yield fill(elsewhere)
        finally:
            elsewhere.submit(lambda: connection.close()).result()
            live.forget_all()


def fill(elsewhere: ThreadPoolExecutor) -> World:
    """Make clusters of images, many of them with the same vector, private ones among them."""
    chance = np.random.default_rng(4)
    space, ann, bob = make_space(DIMENSIONS), make_user("ann"), make_user("bob")
    centres = chance.normal(size=(CLUSTERS, DIMENSIONS))
    vectors = normalise(
        centres[chance.integers(CLUSTERS, size=ROWS)] + 0.5 * chance.normal(size=(ROWS, DIMENSIONS))
    )
    vectors[chance.random(ROWS) < 0.05] = vectors[0]  # the same image, again and again
    halves = vectors.astype(np.float16).astype(float)
    (first,) = make_images(1, owner=ann).tolist()
    ids = np.arange(first, first + ROWS)
    with connection.cursor() as cursor:
        # The other images as the first one, but for what the questions ask.
        columns = [str(column.column) for column in Image._meta.concrete_fields]
        values = {name: name for name in columns} | {
            "id": "n",
            "uuid": "gen_random_uuid()",
            "sha256": "lpad(n::text, 64, '0')",
            "category": "lpad((n * 7919 %% 1000)::text, 3, '0')",
            "owner_id": f"CASE WHEN n %% 3 = 0 THEN {bob.pk} ELSE {ann.pk} END",
            "visibility": "CASE WHEN n %% 5 = 0 THEN 'private' ELSE 'public' END",
        }
        cursor.execute(
            f"INSERT INTO gallery_image ({', '.join(columns)}) "
            f"SELECT {', '.join(values[name] for name in columns)} "
            "FROM gallery_image, generate_series(id + 1, id + %s) AS n",
            [ROWS - 1],
        )
        # Whoever comes later has a number of his own.
        cursor.execute("SELECT setval('gallery_image_id_seq', %s)", [first + ROWS])
        copy = "COPY gallery_imageembedding (image_id, space_id, vector) FROM STDIN"
        with cursor.copy(copy) as rows:
            for id_, vector in zip(ids.tolist(), halves.tolist(), strict=True):
                rows.write_row((id_, space.pk, str(vector)))
        for name, one_in in TAGS.items():
            tag = Tag.objects.create(name=name)
            cursor.execute(
                "INSERT INTO gallery_image_tags (image_id, tag_id) "
                "SELECT id, %s FROM gallery_image WHERE id * 31 %% %s = 0",
                [tag.pk, one_in],
            )
        cursor.execute("ANALYZE")
    return World(
        space=space,
        ids=ids,
        vectors=dict(zip(ids.tolist(), halves.tolist(), strict=True)),
        viewers=[AnonymousUser(), ann, bob, make_user("root", is_superuser=True)],
        tags=dict(Tag.objects.values_list("name", "pk")),
        elsewhere=elsewhere,
    )


# --- What is asked


@dataclass(frozen=True)
class Question:
    viewer: int
    below: int  # category, of 1000
    having: str | None
    lacking: str | None
    some: tuple[int, ...] | None  # places of ids
    shape: str

    def queryset(self, world: World) -> ImageQuerySet | None:
        if self.shape == "none":
            return None
        images = Image.objects.visible_to(world.viewers[self.viewer])
        if self.below < 1000:
            images = images.filter(category__lt=f"{self.below:03}")
        if self.having:
            images = images.filter(tags__name=self.having)
        if self.lacking:
            images = images.exclude(tags__name=self.lacking)
        if self.some is not None:
            images = images.filter(pk__in=[int(world.ids[place]) for place in self.some])
        if self.shape == "joined":  # gives an image once for each of its tags
            images = images.filter(tags__name__in=list(TAGS))
        return images.distinct() if self.shape == "distinct" else images


questions = st.builds(
    Question,
    viewer=st.integers(0, 3),
    below=st.sampled_from([1000, 1000, 900, 500, 500, 100, 30, 3, 0]),
    having=st.sampled_from([None] * 6 + list(TAGS)),
    lacking=st.sampled_from([None] * 6 + list(TAGS)),
    some=st.sampled_from([None] * 6) | st.lists(st.integers(0, ROWS - 1), max_size=60).map(tuple),
    shape=st.sampled_from(["none", "plain", "plain", "distinct", "joined"]),
)
amounts = st.sampled_from([1, 2, 3, 5, 8, 10, 13, 25, 40, 300, 2500, 20_000])


@dataclass(frozen=True)
class Event:
    """Something that another connection does to those that are about to be found, or to others."""

    act: str
    places: tuple[int, ...]  # of 82 images, the nearest among them
    when: str  # "before" the search, or "meanwhile": between index and check

    @property
    def only_takes_away(self) -> bool:
        return self.act in ("delete image", "delete vector", "hide")


places = st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True).map(tuple)
acts = ["delete image", "delete vector", "hide", "tag", "untag"]
events = (
    st.none()
    | st.builds(Event, act=st.sampled_from(acts), places=places, when=st.just("meanwhile"))
    # A vector that is replaced is found by its old one for as long as the index lasts: two polls.
    | st.builds(Event, act=st.sampled_from([*acts, "move"]), places=places, when=st.just("before"))
)


# --- What happens


class Happening:
    """One event on chosen images, done once by another connection, and put back at the end."""

    def __init__(self, world: World, event: Event, ids: list[int]) -> None:
        self.world, self.event, self.ids = world, event, ids
        self.is_done = False

    def __call__(self) -> None:
        if not self.is_done:
            self.is_done = True
            self.world.elsewhere.submit(self._do).result()

    def _do(self) -> None:
        images = Image.objects.filter(pk__in=self.ids)
        self._rows = list(images)
        self._links = list(Image.tags.through.objects.filter(image_id__in=self.ids))
        if self.event.act == "delete image":
            images.delete()
        elif self.event.act == "delete vector":
            ImageEmbedding.objects.filter(image_id__in=self.ids).delete()
        elif self.event.act == "hide":
            images.update(visibility="private", owner=self.world.viewers[3])
        elif self.event.act == "tag":
            Tag.objects.get(name="rare").images.add(*images)
        elif self.event.act == "untag":
            Image.tags.through.objects.filter(image_id__in=self.ids).delete()
        elif self.event.act == "move":
            self._write_vectors({key: [1.0] + [0.0] * (DIMENSIONS - 1) for key in self.ids})

    def undo(self) -> None:
        if self.is_done:
            self.world.elsewhere.submit(self._undo).result()

    def _undo(self) -> None:
        Image.objects.bulk_create(
            self._rows,
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["visibility", "owner"],
        )
        Image.tags.through.objects.filter(image_id__in=self.ids).delete()
        Image.tags.through.objects.bulk_create(self._links)
        self._write_vectors({key: self.world.vectors[key] for key in self.ids})

    def _write_vectors(self, vectors: dict[int, list[float]]) -> None:
        ImageEmbedding.objects.bulk_create(
            [
                ImageEmbedding(image_id=key, space=self.world.space, vector=vector)
                for key, vector in vectors.items()
            ],
            update_conflicts=True,
            unique_fields=["image", "space"],
            update_fields=["vector"],
        )


# --- What must be true


def assert_promise(
    found: Neighbours, exact: Neighbours, k: int, *, is_settled: bool
) -> float | None:
    """Judge an answer by the whole ranking of Postgres; return the recall of an approximate one."""
    got = found.ids.tolist()
    true_scores = dict(zip(exact.ids.tolist(), exact.scores.tolist(), strict=True))
    assert len(set(got)) == len(got), "twice"
    assert set(got) <= set(true_scores), "does not match, or is another viewer's"
    assert len(got) == min(k, len(exact.ids)), "fewer than exist"
    assert (np.diff(found.scores) <= 0).all(), "not best first"
    np.testing.assert_allclose(found.scores, [true_scores[key] for key in got], atol=TOLERANCE)
    if not got or not is_settled:
        return None
    worst = float(exact.scores[len(got) - 1]) - TOLERANCE
    right = sum(true_scores[key] >= worst for key in got) / len(got)
    assert right == 1.0 or not found.plan.exact, "not the true k"
    return None if found.plan.exact else right


@dataclass(frozen=True)
class Example:
    question: Question
    k: int
    event: Event | None
    seed: int  # of the vector that is asked for: near one of the library's, any of them
    route: Route | None

    def vector(self, world: World) -> Vector:
        chance = np.random.default_rng(self.seed)
        near = world.vectors[int(chance.choice(world.ids))]
        return normalise(np.array(near) + 0.2 * chance.normal(size=DIMENSIONS))


examples = st.builds(
    Example,
    question=questions,
    k=amounts,
    event=events,
    seed=st.integers(0, 2**32),
    route=st.none() | st.none() | st.sampled_from(list(Route)),
)


def tried(world: World, view: View, example: Example) -> tuple[Neighbours, float | None]:
    """Ask an example's question, with its event before or meanwhile, and judge the answer."""
    event, query = example.event, example.vector(world)
    within = example.question.queryset(world)
    with ExitStack() as afterwards:
        world.put(view)
        if event is not None:
            near = nearest_exactly(ImageEmbedding, world.space, query, k=41, within=within).ids
            pool = np.unique(np.concatenate([near, world.ids[:: ROWS // 41]]))
            happening = Happening(world, event, pool[list(event.places)].tolist())
            afterwards.callback(happening.undo)
            if event.when == "before":
                happening()
            else:
                world.put(replace(view, base=Meanwhile(view.base, happening)))
        found = nearest(
            ImageEmbedding, world.space, query, k=example.k, within=within, route=example.route
        )
        exact = nearest_exactly(ImageEmbedding, world.space, query, k=2 * ROWS, within=within)
        is_settled = event is None or event.when == "before" or event.only_takes_away
        return found, assert_promise(found, exact, example.k, is_settled=is_settled)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_all_k_that_exist_come_back_and_nothing_else(world, subtests, monkeypatch):
    # One test for all kinds: to fill the library takes longer than to ask it.
    routes, beyond = Counter[Route](), list[float]()
    for kind in KINDS:
        with subtests.test(kind=kind):
            snapshots.build(ImageEmbedding, world.space, kind=kind)
            live.forget_all()
            view = live.index_of(ImageEmbedding, world.space).view()
            assert view.base.kind == kind
            taken, recalls = ask_many(world, view, monkeypatch)
            routes += taken
            beyond += [recall - view.recall for recall in recalls]
    assert set(routes) == set(Route), "a route was never taken"
    assert np.mean(beyond) >= -0.03, "approximate answers are worse than their plans say"


def ask_many(
    world: World, view: View, monkeypatch: pytest.MonkeyPatch
) -> tuple[Counter[Route], list[float]]:
    """Ask many questions of one kind of index; return the routes taken, and the recalls."""
    routes, recalls = Counter[Route](), list[float]()

    @settings(
        max_examples=max(EXAMPLES // len(KINDS), 1),
        deadline=None,
        database=None,
        derandomize=EXAMPLES <= 300,  # the same ones by day, new ones each night
        suppress_health_check=list(HealthCheck),
    )
    @given(example=examples, is_large=st.booleans())
    def holds(*, example: Example, is_large: bool) -> None:
        # To pass by a vector is dear, and few ids are read at once: planned for as a large table.
        monkeypatch.setattr(costs, "_BIT", 1.0 if is_large else 0.0013)
        monkeypatch.setattr(planner, "FEW", 100 if is_large else 2000)
        found, recall = tried(world, view, example)
        routes[found.plan.route] += 1
        if recall is not None:
            recalls.append(recall)

    holds()
    return routes, recalls
