from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser

from gallery import facets
from gallery.errors import QueryInvalid
from gallery.models import Album, Image, State, Tag, Visibility
from gallery.query import EVERYTHING
from gallery.query.filters import And, apply
from gallery.query.language import parse
from tests.gallery.test_filters import library  # noqa: F401 (a fixture)
from tests.rows import make_images, make_user

VISITOR = AnonymousUser()

pytestmark = pytest.mark.django_db


def counted(field, viewer=VISITOR, images=None, **options):
    every = Image.objects.all() if images is None else images
    facet = facets.count(every, field, viewer, **options)
    assert facet.field == field
    return {one.value: one.count for one in facet.counts}


@pytest.mark.parametrize("field", facets.FACETS)
@pytest.mark.parametrize("text", ["", "width>=800 (tag:sea OR colour:red)"])
def test_a_value_is_counted_as_often_as_its_filter_finds_it(field, text, library):  # noqa: F811
    for viewer in (make_user("ann"), make_user("root", is_superuser=True)):
        images = apply(parse(text), Image.objects.all())
        visible = images.visible_to(viewer)
        values = counted(field, viewer, images)
        assert values
        for value, n in values.items():
            among = apply(facets.condition(field, value), visible, viewer)
            assert among.count() == n, value


def test_the_most_frequent_come_first_and_twenty_at_most():
    for i in range(25):
        make_images(30 - i, category=f"c{i:02}")
    make_images(40)
    found = facets.count(Image.objects.all(), "category", VISITOR).counts
    assert [one.value for one in found] == [f"c{i:02}" for i in range(20)]
    assert [one.count for one in found] == [30 - i for i in range(20)]


def test_names_that_only_hidden_images_bear_do_not_appear():
    bob = make_user("bob")
    secret = Album.objects.create(owner=bob, name="Secret")
    (hidden,) = make_images(
        1, owner=bob, visibility=Visibility.PRIVATE, category="secret", camera="secret",
        licence="secret", album=secret, width=9, height=9, mime_type="image/avif",
        taken_at=datetime(1999, 1, 1, tzinfo=UTC), state=State.FAILED,
        colours=[{"hex": "#ff0000", "share": 1.0}],
    )  # fmt: skip
    Image.objects.get(pk=hidden).tags.set([Tag.objects.create(name="secret")])
    make_images(1)
    hers = {field: counted(field, make_user("ann")) for field in facets.FACETS}
    his = {field: counted(field, bob) for field in facets.FACETS}
    for field in facets.FACETS:
        assert set(his[field]) - set(hers[field]), f"{field} would not tell"
        given = counted(field, make_user("ann"), ids=np.array([hidden]))
        assert given == {}, field
    assert hers["visibility"] == {"public": 1}
    assert hers["owner"] == {"ann": 1}


def test_visitors_are_not_told_who_owns_images(settings):
    make_images(3)
    with pytest.raises(QueryInvalid, match="logged in"):
        counted("owner")
    assert counted("state") == {"ready": 3}
    settings.PUBLIC_SEARCH = False
    assert counted("state") == {}


def test_one_name_in_several_spellings_is_one_value():
    make_images(2, camera="Canon EOS")
    make_images(1, camera="CANON EOS")
    for owner in ("ann", "bob"):
        album = Album.objects.create(owner=make_user(owner), name="Trip")
        make_images(1, album=album, owner=make_user(owner))
    assert sum(counted("camera").values()) == 3
    assert len(counted("camera")) == 1
    assert counted("album") == {"Trip": 2}


def test_the_ids_of_a_ranking_are_counted_alone():
    ids = make_images(5, category="a")
    make_images(5, category="b")
    assert counted("category", ids=ids[:3]) == {"a": 3}
    assert counted("category", ids=np.array([], dtype=np.int64)) == {}
    narrowed = apply(parse("category:b"), Image.objects.all())
    assert counted("category", images=narrowed, ids=ids) == {}


def test_any_queryset_can_be_counted():
    make_images(5, category="a", mime_type="image/jpeg")
    for images in (
        Image.objects.order_by("-width")[:3],
        Image.objects.filter(category="a").distinct(),
        Image.objects.select_related("owner").prefetch_related("tags"),
        apply(EVERYTHING, Image.objects.all()),
        apply(And((parse("NOT ()"),)), Image.objects.all()),
    ):
        (*values,) = counted("format", images=images).items()
        assert values in ([("jpeg", 3)], [("jpeg", 5)], [])


def test_each_field_takes_one_statement(django_assert_num_queries, library):  # noqa: F811
    ann = make_user("ann")
    for field in facets.FACETS:
        with django_assert_num_queries(1):
            counted(field, ann)


def test_an_unknown_facet_is_refused():
    for ask in (
        lambda: counted("owner__password"),
        lambda: facets.condition("password", "x"),
    ):
        with pytest.raises(QueryInvalid, match="there are tag, album"):
            ask()


@pytest.mark.parametrize(
    ("hex_", "name"),
    [
        ("#000000", "black"), ("#101012", "black"), ("#ffffff", "white"), ("#7f7f7f", "grey"),
        ("#e01020", "red"), ("#ff8c00", "orange"), ("#ffe135", "yellow"), ("#228b22", "green"),
        ("#1e90ff", "blue"), ("#000060", "blue"), ("#6a0dad", "purple"), ("#ff85c0", "pink"),
        ("#7b3f00", "brown"),
    ],
)  # fmt: skip
def test_a_colour_has_the_name_that_people_give_it(hex_, name):
    make_images(1, colours=[{"hex": hex_, "share": 0.9}])
    assert counted("colour") == {name: 1}


def test_what_fills_less_than_a_tenth_gives_no_name():
    shades = [{"hex": "#ff0000", "share": 0.06}, {"hex": "#d00000", "share": 0.05}]
    make_images(1, colours=[{"hex": "#ffffff", "share": 0.8}, *shades])
    make_images(1, colours=[{"hex": "#ffffff", "share": 0.8}, shades[0]])
    assert counted("colour") == {"white": 2, "red": 1}
