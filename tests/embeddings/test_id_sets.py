from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.postgres.search import SearchQuery
from django.db import connection, transaction
from django.db.models import Count, DateField, Exists, F, OuterRef, Q, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Lower, Now, Random, TruncYear
from django.utils import timezone

from embeddings import id_sets, live
from embeddings.id_sets import IdSets
from embeddings.nearest import nearest
from embeddings.subqueries import Subquery
from gallery.models import ApiToken, Image, ImageEmbedding, Tag, Visibility
from tests.rows import make_images, make_space, make_user, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sets(settings):
    settings.INDEX_FILTER_CACHE_MEGABYTES = 64
    id_sets.id_sets.forget_all()
    id_sets.tables_read.cache_clear()
    return id_sets.id_sets


def ask(sets: IdSets, queryset) -> tuple[list[int], bool]:
    """Return the ids of a filter, and whether they were remembered."""
    filter_ = Subquery.of(queryset, Image)
    place = sets.look(filter_)
    if place.ids is not None:
        return place.ids.ids.tolist(), True
    return sets.keep(filter_, place, id_sets.read(filter_)).ids.tolist(), False


def test_a_filter_is_read_once(sets):
    ids = make_images(5, category="birds").tolist()
    make_images(2)
    birds = Image.objects.filter(category="birds")
    assert ask(sets, birds) == (ids, False)
    assert ask(sets, birds.order_by("added_at")) == (ids, True)
    assert ask(sets, Image.objects.filter(category="bees")) == ([], False)


def change_image(image):
    image.category = "birds"
    image.save()


@pytest.mark.parametrize(
    ("queryset", "change"),
    [
        (lambda: Image.objects.filter(tags__name="owl"), lambda i: i.tags.add(Tag.objects.get())),
        (lambda: Image.objects.exclude(tags__name="owl"), lambda i: i.tags.add(Tag.objects.get())),
        (lambda: Image.objects.filter(category="birds"), change_image),
        (
            lambda: Image.objects.filter(captions__text__contains="owl"),
            lambda i: i.captions.create(text="an owl", source="me"),
        ),
        (
            lambda: Image.objects.filter(owner__username="bob"),
            lambda i: type(i.owner).objects.update(username="bob"),
        ),
        (lambda: Image.objects.filter(pk__gt=0), lambda i: i.delete()),
        (lambda: Image.objects.filter(pk__gt=0), lambda i: make_images(1)),
    ],
    ids=["tagged", "tagged, excluded", "changed", "caption", "renamed owner", "deleted", "added"],
)
def test_what_changes_a_filter_is_seen_at_once(sets, queryset, change):
    Tag.objects.create(name="owl")
    ids = make_images(3).tolist()
    before = ask(sets, queryset())[0]
    assert ask(sets, queryset()) == (before, True)
    change(Image.objects.get(pk=ids[1]))
    after, remembered = ask(sets, queryset())
    assert not remembered
    assert after == sorted(queryset().values_list("pk", flat=True))
    assert after != before


def test_a_write_to_another_table_costs_nothing(sets):
    ids = make_images(3).tolist()
    everything = Image.objects.filter(visibility=Visibility.PUBLIC)
    ask(sets, everything)
    Tag.objects.create(name="owl")
    assert ask(sets, everything) == (ids, True)


def test_values_that_look_alike_are_not_mixed_up(sets):
    (image,) = make_images(1, metadata={"year": 1, "who": "x" * 50 + "1"}).tolist()
    for value, found in ((1, [image]), ("1", []), (True, [])):
        assert ask(sets, Image.objects.filter(metadata__year=value)) == (found, False)
    for last, found in (("1", [image]), ("2", [])):
        # The driver's own repr of JSON is cut after 40 letters.
        asked = Image.objects.filter(metadata__contains={"who": "x" * 50 + last})
        assert ask(sets, asked) == (found, False)


def remembered(sets, queryset) -> bool:
    ask(sets, queryset)
    return ask(sets, queryset)[1]


def test_what_cannot_be_judged_is_read_each_time(sets):
    make_images(1)
    images = Image.objects
    querysets = {
        "now()": images.filter(added_at__lt=Now()),
        "current": images.filter(added_at__lt=RawSQL("CURRENT_TIMESTAMP", ())),
        "current()": images.filter(added_at__lt=RawSQL("CURRENT_TIMESTAMP(3)", ())),
        "'now'": images.filter(added_at__lt=RawSQL("%s::timestamptz", ("now",))),
        "'today'": images.filter(added_at__lt=RawSQL("'Today 10:00'::timestamptz", ())),
        "random": images.alias(chance=Random()).filter(chance__lt=0.5),
        "extra random": images.extra(where=["random() < 0.5"]),
        "join": images.filter(owner__api_tokens__name="x"),
        "exists": images.filter(Exists(ApiToken.objects.filter(user=OuterRef("owner")))),
        "raw": images.filter(pk__in=RawSQL("SELECT user_id FROM gallery_apitoken", ())),
        "schema": images.filter(pk__in=RawSQL("SELECT id FROM public.gallery_image", ())),
        "code points": images.filter(pk__in=RawSQL('SELECT id FROM U&"gallery\\005fimage"', ())),
        "extra": images.extra(tables=["django_session"]),
    }
    assert [name for name, asked in querysets.items() if remembered(sets, asked)] == []
    assert len(sets) == 0


def test_what_people_filter_by_is_remembered_and_right(sets):
    make_images(3)
    images = Image.objects
    querysets = {
        "visible, tagged": images.visible_to(make_user("bob")).filter(tags__name="x").distinct(),
        "or, not": images.filter(Q(width__gt=F("height")) | ~Q(album__name="x")),
        "count": images.annotate(n=Count("tags")).filter(n__gte=0),
        "metadata": images.filter(metadata__camera__iso__gt=100),
        "dates": images.filter(taken_at__year=2024, taken_at__lt=timezone.now()),
        "truncated": images.alias(y=TruncYear("taken_at")).filter(y__isnull=True),
        "function": images.alias(c=Lower("camera")).filter(c=Value("x")),
        "numbers": images.filter(latitude__gt=Decimal("1.5"), pk__in=[1, 2, 3]),
        "full text": images.filter(full_text=SearchQuery("x", config="english")),
        "slice": images.order_by("-added_at")[:2],
        "first of each": images.order_by("owner", "-pk").distinct("owner"),
        "union": images.filter(pk=1).union(images.filter(pk=2)),
    }
    assert [name for name, asked in querysets.items() if not remembered(sets, asked)] == []
    for name, asked in querysets.items():
        assert ask(sets, asked)[0] == sorted(asked.values_list("pk", flat=True)), name


def test_a_set_is_dropped_when_memory_is_short(sets, settings):
    make_images(1000)
    settings.INDEX_FILTER_CACHE_MEGABYTES = 0.02  # 8 kB a set
    for number in range(3):
        ask(sets, Image.objects.filter(pk__gt=-number))
    assert len(sets) == 2
    assert not ask(sets, Image.objects.filter(pk__gt=0))[1]
    assert ask(sets, Image.objects.filter(pk__gt=-2))[1]
    settings.INDEX_FILTER_CACHE_MEGABYTES = 0
    assert not remembered(sets, Image.objects.filter(pk__gt=-5))


def test_many_small_sets_are_not_kept_for_ever(sets, monkeypatch):
    monkeypatch.setattr(id_sets, "MOST_SETS", 3)
    for number in range(5):
        ask(sets, Image.objects.filter(category=str(number)))
    assert len(sets) == 3


def test_a_day_is_another_one_where_the_session_has_another_time_zone(sets):
    make_images(1, taken_at=datetime(2024, 1, 1, 23, 30, tzinfo=UTC))
    that_day = Image.objects.alias(day=Cast("taken_at", DateField())).filter(day=date(2024, 1, 1))
    found = []
    for zone in ("UTC", "Asia/Tokyo"):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('TimeZone', %s, false)", [zone])
            found.append(len(ask(sets, that_day)[0]))
        finally:
            connection.close()
    assert found == [1, 0]


def test_masks_count_as_memory(sets):
    ids = make_images(1000)
    filter_ = Subquery.of(Image.objects.filter(pk__gt=0), Image)
    kept = sets.keep(filter_, sets.look(filter_), id_sets.read(filter_))
    before = kept.nbytes
    kept.mask_over(ids)
    assert kept.nbytes == before + 1000


@pytest.fixture
def library(sets, settings):
    settings.INDEX_POLL_SECONDS = 1e-6
    settings.INDEX_NARROW_FILTER = 5
    live.forget_all()
    space, ids = make_space(), make_images(60, category="birds")
    store(ids, make_vectors(60), space)
    others = make_images(400)  # a filter that many pass needs no ids
    store(others, make_vectors(400, seed=1), space)
    return space, ids


def steps(found) -> list[str]:
    return [step.name for step in found.plan.steps]


def test_the_plan_says_whether_the_ids_were_remembered(library):
    space, _ = library
    birds = Image.objects.filter(category="birds")
    query = make_vectors(1, seed=9)[0]
    first = nearest(ImageEmbedding, space, query, k=3, within=birds)
    assert "ids, not remembered" in steps(first)
    second = nearest(ImageEmbedding, space, query, k=3, within=birds)
    assert steps(second)[0] == "ids, remembered"
    assert "count" not in steps(second)
    assert second.ids.tolist() == first.ids.tolist()


def test_in_a_transaction_that_has_written_nothing_is_remembered(library, sets):
    space, ids = library
    birds = Image.objects.filter(category="birds")
    query = make_vectors(1, seed=9)[0]
    with transaction.atomic():
        Image.objects.filter(pk__in=ids[:30].tolist()).update(category="bees")
        inside = nearest(ImageEmbedding, space, query, k=60, within=birds)
        transaction.set_rollback(True)
    assert len(inside.ids) == 30
    assert len(sets) == 0
    assert len(nearest(ImageEmbedding, space, query, k=60, within=birds).ids) == 60


def test_a_set_of_a_moment_ago_is_not_used_where_an_image_left_it(library):
    space, _ = library
    birds = Image.objects.filter(category="birds")
    query = make_vectors(1, seed=9)[0]
    first = nearest(ImageEmbedding, space, query, k=10, within=birds)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE gallery_image SET category = '' WHERE id = ANY(%s)", [first.ids[:5].tolist()]
        )
    second = nearest(ImageEmbedding, space, query, k=10, within=birds)
    assert not set(first.ids[:5].tolist()) & set(second.ids.tolist())
    assert len(second.ids) == 10


def test_intervals_and_dates_are_told_apart(sets):
    make_images(1)
    for days in (1, 2):
        asked = Image.objects.filter(added_at__gt=timezone.now() - timedelta(days=days))
        assert not ask(sets, asked)[1]
