from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime
from random import Random
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.db.models import Count
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery.colours import MAX_COLOURS
from gallery.errors import QueryInvalid
from gallery.models import (
    Album,
    Caption,
    Image,
    LinkState,
    SourceLink,
    State,
    Tag,
    Video,
    Visibility,
)
from gallery.query import colours
from gallery.query.fields import FIELDS
from gallery.query.filters import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Condition,
    Filter,
    Not,
    Operator,
    Or,
    all_of,
    any_of,
    apply,
    conditions,
)
from gallery.query.language import parse
from tests.rows import make_images, make_user

VISITOR = AnonymousUser()
OBVIOUS = ["#ff0000", "#336699", "#000000", "#ffffff", "#808080", "#00ff00", "#8b4513", "#ffff00"]
TAGS = ["sea", "night", "boat"]
FILM = uuid.UUID(int=7)


@pytest.fixture
def library(db):
    """Sixty images of ann and bob that differ in everything a filter may ask."""
    random = Random(7)
    owners = [make_user("ann"), make_user("bob")]
    albums = [Album.objects.create(owner=owner, name="Trip") for owner in owners]
    albums.append(Album.objects.create(owner=owners[0], name="Élan"))
    tags = [Tag.objects.create(name=name) for name in TAGS]
    images = [make_image(random, owners, albums) for _ in range(60)]
    Video.objects.create(
        uuid=FILM, owner=owners[0], sha256="f" * 64, mime_type="video/mp4",
        width=1, height=1, bytes=1, seconds=60, visibility=Visibility.PUBLIC,
    )  # fmt: skip
    for second, image in enumerate(images[::4]):
        image.video_id, image.video_seconds = FILM, second
    Image.objects.bulk_create(images)
    for image in images:
        image.tags.set(random.sample(tags, random.randrange(3)))
        if random.random() < 0.3:
            text = random.choice(["A red boat", "100% sea_side"])
            Caption.objects.create(image=image, source="coco", text=text)
    SourceLink.objects.bulk_create(
        SourceLink(
            image=image,
            url=image.source_url if random.random() < 0.8 else "https://example.org/before",
            state=random.choice(LinkState.values),
            checked_at=datetime(2024, 5, 1, tzinfo=UTC),
        )
        for image in images
        if image.source_url
    )
    return images


def make_image(random: Random, owners, albums) -> Image:
    owner = random.choice(owners)
    place = random.choice([(None, None), (52.5, 13.4), (52.51, 13.41), (0.0, 179.99), (89.99, 5.0)])
    shares = [0.6, 0.3, 0.1]
    return Image(
        sha256=uuid.uuid4().hex * 2,
        owner=owner,
        original_name=random.choice(["", "Beach.JPG", "100%_sure.png"]),
        mime_type=random.choice(["image/jpeg", "image/png"]),
        width=random.choice([100, 800, 65_535]),
        height=random.choice([100, 600, 65_535]),
        bytes=random.choice([10, 2_000_000, 3_000_000]),
        taken_at=random.choice(
            [None, *(datetime(2024, month, 31, 23, 30, tzinfo=UTC) for month in (5, 7, 12))]
        ),
        camera=random.choice(["", "Canon EOS 5D", "CANON EOS 5d", "Nikon"]),
        latitude=place[0],
        longitude=place[1],
        colours=[
            {"hex": hex_, "share": share}
            for hex_, share in zip(random.sample(OBVIOUS, 3), shares, strict=True)
        ][: random.randrange(4)],
        caption=random.choice(["", "A quiet sea", "Red boats"]),
        album=random.choice([None, *(album for album in albums if album.owner == owner)]),
        category=random.choice(["", "demo", "News"]),
        metadata=random.choice(METADATA),
        licence=random.choice(["", "MIT", "CC-BY"]),
        attribution=random.choice(["", "The Museum"]),
        source_url=random.choice(["", "https://example.org/1"]),
        visibility=random.choice(Visibility.values),
        state=random.choice(State.values),
    )


METADATA = [
    {},
    {"iso": 400},
    {"iso": "400"},
    {"iso": 1600.5, "exif": {"lens": "50mm", "a.b": True}},
    {"iso": "fast", "exif": {"lens": None}},
    {"iso": [100, 800], "exif": []},
    {"iso": {"value": 400}},
    {"iso": True},
]


def found(filter_: Filter | str, viewer=VISITOR) -> set[int]:
    tree = parse(filter_) if isinstance(filter_, str) else filter_
    ids = list(apply(tree, Image.objects.all(), viewer).values_list("pk", flat=True))
    assert len(ids) == len(set(ids)), "an image came out twice"
    return set(ids)


# What each condition means, said once more in Python.

PLAIN = {
    "tag:sea": lambda i: "sea" in names(i),
    "tag in (sea, boat)": lambda i: bool({"sea", "boat"} & set(names(i))),
    "tag!=night": lambda i: "night" not in names(i),
    "tag exists": lambda i: bool(names(i)),
    "album:trip": lambda i: i.album is not None and i.album.name == "Trip",
    "album!=élan": lambda i: i.album is None or i.album.name != "Élan",
    "album exists": lambda i: i.album is not None,
    "category in (DEMO, news)": lambda i: i.category in ("demo", "News"),
    "taken:2024": lambda i: i.taken_at is not None,
    "taken:2024-05": lambda i: i.taken_at and i.taken_at.month == 5,
    "taken>2024-05": lambda i: i.taken_at and i.taken_at.month > 5,
    "taken<=2024-07-31": lambda i: i.taken_at and i.taken_at.month <= 7,
    "taken<2024-07-31": lambda i: i.taken_at and i.taken_at.month < 7,
    "taken:2024-06..2024-08": lambda i: i.taken_at and i.taken_at.month == 7,
    "taken!=2024-05": lambda i: not i.taken_at or i.taken_at.month != 5,
    "taken in (2024-05, 2024-12-31)": lambda i: i.taken_at and i.taken_at.month in (5, 12),
    "taken exists": lambda i: i.taken_at is not None,
    "added>=2020": lambda i: True,
    "added<2020": lambda i: False,
    "width>=800": lambda i: i.width >= 800,
    "width in (800, 5)": lambda i: i.width == 800,
    "height!=600": lambda i: i.height != 600,
    "megapixels>=0.48": lambda i: i.width * i.height >= 480_000,
    "megapixels>4294": lambda i: i.width * i.height > 4294e6,
    "megapixels<0.08": lambda i: i.width * i.height < 80_000,
    "orientation:landscape": lambda i: i.width > i.height,
    "orientation in (portrait, square)": lambda i: i.width <= i.height,
    "size>2MB": lambda i: i.bytes > 2_000_000,
    "size<=2MB": lambda i: i.bytes <= 2_000_000,
    "format:jpg": lambda i: i.mime_type == "image/jpeg",
    "format in (png, webp)": lambda i: i.mime_type == "image/png",
    'camera:"canon eos 5D"': lambda i: i.camera.lower() == "canon eos 5d",
    "camera~EOS": lambda i: "eos" in i.camera.lower(),
    "camera exists": lambda i: i.camera != "",
    "licence!=mit": lambda i: i.licence != "MIT",
    "attribution~museum": lambda i: i.attribution != "",
    "video exists": lambda i: i.video_id is not None,
    f"video:{FILM}": lambda i: i.video_id == FILM,
    f"video!={FILM}": lambda i: i.video_id != FILM,
    "state:ready": lambda i: i.state == State.READY,
    "visibility in (private)": lambda i: i.visibility == Visibility.PRIVATE,
    "link:ok": lambda i: link(i) == "ok",
    "link in (broken, unreachable)": lambda i: link(i) in ("broken", "unreachable"),
    "link!=broken": lambda i: link(i) != "broken",
    "caption:boat": lambda i: any("boat" in text.lower() for text in texts(i)),
    "caption~100%": lambda i: any("100%" in text for text in texts(i)),
    'caption~"a_s"': lambda i: any("a_s" in text for text in texts(i)),
    "caption exists": lambda i: bool(texts(i)),
    "name~beach": lambda i: "Beach" in i.original_name,
    "name~0%_": lambda i: "0%_" in i.original_name,
    "name=beach.jpg": lambda i: i.original_name == "Beach.JPG",
    "meta.iso:400": lambda i: i.metadata.get("iso") in (400, "400"),
    'meta.iso:"400"': lambda i: i.metadata.get("iso") == "400",
    "meta.iso!=400": lambda i: i.metadata.get("iso") not in (400, "400"),
    "meta.iso>=400": lambda i: any(number >= 400 for number in numbers(i)),
    "meta.iso<400": lambda i: any(number < 400 for number in numbers(i)),
    "meta.iso in (fast, 1600.5)": lambda i: i.metadata.get("iso") in ("fast", 1600.5),
    "meta.iso:true": lambda i: i.metadata.get("iso") is True,
    "meta.iso:100": lambda i: 100 in numbers(i),
    "meta.iso~FAS": lambda i: i.metadata.get("iso") == "fast",
    "meta.iso>g": lambda i: False,
    "meta.iso>a": lambda i: i.metadata.get("iso") == "fast",
    "meta.iso exists": lambda i: "iso" in i.metadata,
    "meta.exif.lens:50mm": lambda i: i.metadata.get("iso") == 1600.5,
    'meta.exif."a.b":true': lambda i: i.metadata.get("iso") == 1600.5,
    "meta.exif.lens exists": lambda i: i.metadata.get("iso") in (1600.5, "fast"),
    "colour:#336699~10@50%": lambda i: {"hex": "#336699", "share": 0.6} in i.colours,
    "colour:#35679a": lambda i: any(c["hex"] == "#336699" for c in i.colours),
    "colour:#336699~3@0.3": lambda i: any(
        c["hex"] == "#336699" and c["share"] >= 0.3 for c in i.colours
    ),
    "colour:red": lambda i: any(c["hex"] == "#ff0000" for c in i.colours),
    "colour in (grey, brown)": lambda i: any(c["hex"] in ("#808080", "#8b4513") for c in i.colours),
}
OF_ANN = {
    "owner:ann": lambda i: i.owner.username == "ann",
    "owner in (bob, nobody)": lambda i: i.owner.username == "bob",
    "near:52.52,13.40,5km": lambda i: i.owner.username == "ann" and i.latitude in (52.5, 52.51),
    "near:52.5,13.4,10m": lambda i: i.owner.username == "ann" and i.latitude == 52.5,
    "near:0,-179.99,3km": lambda i: i.owner.username == "ann" and i.latitude == 0.0,
    "near:90,0,2km": lambda i: i.owner.username == "ann" and i.latitude == 89.99,
    "near!=52.52,13.40,5km": lambda i: (
        not (i.owner.username == "ann" and i.latitude in (52.5, 52.51))
    ),
}
MEANINGS = PLAIN | OF_ANN


def names(image: Image) -> list[str]:
    return [tag.name for tag in image.tags.all()]


def link(image: Image) -> str:
    known = getattr(image, "source_link", None)
    return known.state if known and known.url == image.source_url else ""


def texts(image: Image) -> list[str]:
    return [text for text in (image.caption, *(c.text for c in image.captions.all())) if text]


def numbers(image: Image) -> list[float]:
    iso = image.metadata.get("iso")
    return [float(one) for one in (iso if isinstance(iso, list) else [iso]) if is_number(one)]


def is_number(value) -> bool:
    return (isinstance(value, int | float) and value is not True) or value == "400"


def expected(meaning, images) -> set[int]:
    return {image.pk for image in images if meaning(image)}


@pytest.fixture
def records(library):
    related = Image.objects.select_related("owner", "album").prefetch_related("tags", "captions")
    return list(related)


def test_a_condition_finds_what_it_says_and_not_what_it_does_not(records):
    ann = make_user("ann")
    for text, meaning in MEANINGS.items():
        right = expected(meaning, records)
        assert found(text, ann) == right, text
        assert found(Not(parse(text)), ann) == {image.pk for image in records} - right, text
    everything, nothing = len(records), 0
    telling = [t for t, m in MEANINGS.items() if nothing < len(expected(m, records)) < everything]
    assert len(telling) >= len(MEANINGS) - 5, "the library is too plain to tell"


def test_every_field_is_tried(records):
    tried = {parse(text).field.partition(".")[0] for text in MEANINGS}
    assert tried | {"id"} == set(FIELDS)


TREES = st.recursive(
    st.sampled_from([*MEANINGS, "()"]),
    lambda inner: st.one_of(
        st.tuples(st.just("and"), st.lists(inner, max_size=3)),
        st.tuples(st.just("or"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("not"), inner),
    ),
    max_leaves=8,
)


def built(tree) -> Filter:
    match tree:
        case ("and", parts):
            return And(tuple(map(built, parts)))
        case ("or", parts):
            return Or(tuple(map(built, parts)))
        case ("not", part):
            return Not(built(part))
    return parse(tree)


def holds(tree, image: Image) -> bool:
    match tree:
        case ("and", parts):
            return all(holds(part, image) for part in parts)
        case ("or", parts):
            return any(holds(part, image) for part in parts)
        case ("not", part):
            return not holds(part, image)
    return tree == "()" or bool(MEANINGS[tree](image))


def test_any_combination_finds_exactly_what_it_says(records):
    ann = make_user("ann")

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TREES)
    def check(tree):
        assert found(built(tree), ann) == {image.pk for image in records if holds(tree, image)}

    check()


def test_a_filter_serves_as_a_subquery_and_beside_joins(records):
    tree = parse("(tag in (sea, night) OR album:trip OR caption:boat) colour:#336699 meta.iso>=4")
    right = found(tree)
    assert right
    inner = apply(tree, Image.objects.all())
    assert (
        set(Image.objects.filter(pk__in=inner.values("pk")).values_list("pk", flat=True)) == right
    )
    assert inner.count() == len(right)
    tagged = apply(tree, Image.objects.annotate(n=Count("tags")).select_related("album"))
    assert {image.pk for image in tagged} == right


def test_images_are_found_by_id(records):
    one, two = records[:2]
    assert found(f"id:{one.uuid}") == {one.pk}
    assert found(f"id in ({one.uuid}, {str(two.uuid).upper()}, {uuid.uuid4()})") == {one.pk, two.pk}


def test_a_day_is_a_day_of_the_sites_time_zone(db):
    make_images(1, taken_at=datetime(2024, 5, 31, 23, 30, tzinfo=UTC))
    assert found("taken:2024-05-31")
    assert not found("taken:2024-06")
    with timezone.override(ZoneInfo("Asia/Tokyo")):
        assert found("taken:2024-06-01")
        assert not found("taken:2024-05")


@pytest.mark.parametrize("day", [date.min, date(1, 1, 2), date(9998, 12, 31), date.max])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Lima"])
def test_the_first_and_last_days_there_are_mean_no_limit(db, day, zone):
    make_images(1, taken_at=datetime(2024, 5, 31, tzinfo=UTC))
    with timezone.override(ZoneInfo(zone)):
        after, before = conditions(taken_after=day), conditions(taken_before=day)
        assert bool(found(after)) == (day.year < 2024)
        assert bool(found(before)) == (day.year > 2024)
        found(Condition("taken", Operator.IS, day))


def test_where_images_were_taken_is_told_to_their_owner_alone(records):
    place = "near:52.5,13.4,100km"
    own = found(place, make_user("ann"))
    others = found(place, make_user("bob"))
    assert own
    assert others
    assert not own & others
    assert found(place, make_user("root", is_superuser=True)) == own | others
    # Nor does it show in what NOT leaves.
    everyone_elses = {image.pk for image in records if image.owner.username != "ann"}
    assert found(f"NOT {place}", make_user("ann")) >= everyone_elses


@pytest.mark.parametrize("viewer", [None, VISITOR])
@pytest.mark.parametrize(
    "text", ["near:1,2,3km", "owner:ann", "NOT owner:ann", "tag:a OR near:1,2,3"]
)
def test_what_visitors_are_not_told_they_cannot_ask(db, viewer, text):
    with pytest.raises(QueryInvalid, match="logged in"):
        found(text, viewer)


PLACES = [(0.0, 0.0), (52.52, 13.4), (52.6, 13.0), (-33.9, 151.2), (89.9, 10.0), (89.9, -170.0),
          (-89.5, 0.0), (10.0, 179.9), (10.0, -179.9), (-10.0, 180.0), (5.0, -180.0)]  # fmt: skip


@pytest.mark.parametrize("km", [0.5, 30.0, 700.0, 9000.0, 20_030.0])
def test_a_circle_holds_the_places_within_its_radius(db, km):
    for latitude, longitude in PLACES:
        make_images(1, latitude=latitude, longitude=longitude)
    make_images(2)
    for centre in PLACES:
        text = f"near:{centre[0]},{centre[1]},{km}km"
        near = Image.objects.filter(pk__in=found(text, make_user("ann")))
        right = {place for place in PLACES if great_circle(centre, place) <= km}
        assert set(near.values_list("latitude", "longitude")) == right


def great_circle(one, other) -> float:
    """The angle between the places as points of a ball: another formula than the filter's."""
    x, y = (
        (math.cos(a) * math.cos(b), math.cos(a) * math.sin(b), math.sin(a))
        for a, b in (map(math.radians, place) for place in (one, other))
    )
    cross = math.dist((0, 0, 0), (x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]))  # fmt: skip  # noqa: E501
    return 6371.0088 * math.atan2(cross, sum(a * b for a, b in zip(x, y, strict=True)))


def test_a_colour_is_found_by_its_distance_in_cielab(db):
    random = Random(3)
    hexes = [f"#{random.randrange(2**24):06x}" for _ in range(300)]
    for hex_ in hexes:
        filler = [{"hex": "#010203", "share": 0.01}] * (MAX_COLOURS - 1)
        make_images(1, colours=[*filler, {"hex": hex_, "share": 0.5}], original_name=hex_)
    for wanted, tolerance in [("#336699", 25), ("#c03020", 40), ("#808080", 12.5), (hexes[0], 1)]:
        lab = colours.lab_of(wanted)
        right = {hex_ for hex_ in hexes if math.dist(lab, colours.lab_of(hex_)) <= tolerance}
        near = Image.objects.filter(pk__in=found(f"colour:{wanted}~{tolerance}"))
        assert set(near.values_list("original_name", flat=True)) == right
        assert right


def test_lightness_and_hue_are_those_of_the_standard():
    assert colours.lab_of("#ffffff") == pytest.approx((100, 0, 0), abs=0.02)
    assert colours.lab_of("#ff0000") == pytest.approx((53.24, 80.09, 67.20), abs=0.02)
    assert colours.lab_of("#0000ff") == pytest.approx((32.30, 79.19, -107.86), abs=0.02)


@pytest.mark.parametrize(
    "broken",
    [{}, "#ffffff", [1], [{}], [{"hex": "red", "share": 1}], [{"hex": "#ffffff"}],
     [{"hex": "#ffffff", "share": "1"}], [{"hex": "#ffffff", "share": 1e300}],
     [{"hex": ["#ffffff"], "share": 1}], [[["#ffffff"]]]],
)  # fmt: skip
def test_an_image_whose_colours_make_no_sense_is_stored_and_has_none(db, broken):
    make_images(1, colours=broken)
    assert not found("colour:white")
    assert not found("colour:#ffffff")
    assert found("NOT colour:#ffffff")


WRONG = {
    "an unknown field": ("password", Operator.IS, "x", "password"),
    "a field of another table": ("owner__password", Operator.IS, "x", "owner__password"),
    "an operator it has not": ("tag", Operator.LESS, "x", "tag"),
    "a list for one value": ("tag", Operator.IS, ["x"], "tag"),
    "one value for a list": ("tag", Operator.IN, "x", "tag"),
    "an empty list": ("tag", Operator.IN, [], "tag"),
    "a long list": ("tag", Operator.IN, [str(i) for i in range(101)], "tag"),
    "an empty text": ("camera", Operator.IS, " ", "camera"),
    "a long text": ("camera", Operator.IS, "x" * 201, "camera"),
    "a NUL": ("camera", Operator.IS, "a\x00b", "camera"),
    "half a character": ("name", Operator.CONTAINS, "\ud800", "name"),
    "a date that is none": ("taken", Operator.AT_LEAST, "2024-13", "taken"),
    "dates in the wrong order": ("taken", Operator.IS, "2024..2023", "taken"),
    "a number that is none": ("width", Operator.IS, "wide", "width"),
    "a truth for a number": ("width", Operator.IS, True, "width"),
    "a number without end": ("width", Operator.IS, "9" * 10_000, "width"),
    "NaN": ("megapixels", Operator.MORE, float("nan"), "megapixels"),
    "infinity": ("meta.x", Operator.MORE, float("inf"), "meta.x"),
    "a huge number": ("meta.x", Operator.MORE, 10**400, "meta.x"),
    "nothing": ("meta.x", Operator.IS, None, "meta.x"),
    "a size in parsecs": ("size", Operator.MORE, "3pc", "size"),
    "a format nobody has": ("format", Operator.IS, "exe", "format"),
    "a place without a distance": ("near", Operator.IS, "52,13", "near"),
    "a place off the Earth": ("near", Operator.IS, "91,0,5km", "near"),
    "a place that is no number": ("near", Operator.IS, "nan,0,5km", "near"),
    "a colour that is none": ("colour", Operator.IS, "#12345", "colour"),
    "a tolerance of everything": ("colour", Operator.IS, "#123456~500", "colour"),
    "an id that is none": ("id", Operator.IS, "1", "id"),
    "metadata without a key": ("meta", Operator.IS, "1", "meta"),
    "metadata with an empty key": ("meta.a..b", Operator.IS, "1", "meta.a..b"),
    "metadata with a broken quote": ('meta."a', Operator.IS, "1", "meta"),
    "metadata eleven levels deep": ("meta" + ".a" * 11, Operator.IS, "1", "meta"),
    "something nested": ("tag", Operator.IS, [[[]]], "tag"),
    "a value for exists": ("tag", Operator.EXISTS, "sea", "tag"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_condition_that_makes_no_sense_cannot_be_made_and_names_its_field(what):
    field, operator, value, named = WRONG[what]
    with pytest.raises(QueryInvalid) as refusal:
        Condition(field, operator, value)
    assert named in str(refusal.value)
    assert str(refusal.value).endswith(".")


ATTACKS = [
    "'",
    '"',
    "\\",
    "%",
    "_",
    "{image}",
    "%s",
    "$",
    "') OR 1=1 --",
    '" ? (@ == 1)',
    "*",
    "\\'",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_person_writes_never_becomes_sql_or_a_path(db, attack):
    (plain,) = make_images(1, metadata={"k": "v"}, camera="x", caption="x", original_name="x")
    (meant,) = make_images(
        1, metadata={"k": attack, attack: 1}, camera=attack, caption=attack, original_name=attack
    )
    for field in ("camera", "caption", "name", "meta.k"):
        assert found(Condition(field, Operator.CONTAINS, attack)) == {meant}, field
    for field in ("camera", "name", "meta.k"):
        assert found(Condition(field, Operator.IS, attack)) == {meant}, field
        assert found(Condition(field, Operator.IN, [attack])) == {meant}, field
    quoted = attack.replace("\\", "\\\\").replace('"', '\\"')
    assert found(Condition(f'meta."{quoted}"', Operator.EXISTS)) == {meant}
    assert found(Condition("meta.k", Operator.AT_LEAST, attack)) <= {plain, meant}
    for field in ("tag", "album", "category", "licence"):
        assert found(Condition(field, Operator.IS, attack)) == set()


def nested(levels: int) -> Filter:
    tree: Filter = Condition("tag", Operator.IS, "sea")
    for _ in range(levels):
        tree = Not(tree)
    return tree


def test_a_filter_as_deep_and_as_wide_as_may_be_is_answered(db):
    deep = nested(MAX_DEPTH)
    assert deep == nested(MAX_DEPTH)
    assert hash(deep) == hash(nested(MAX_DEPTH))
    assert "sea" in repr(deep)
    found(deep)
    wide = Or(tuple(Condition("tag", Operator.IS, str(i)) for i in range(MAX_CONDITIONS)))
    found(wide)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 1000, 100_000])
def test_a_filter_that_is_nested_deeper_cannot_be_made(levels):
    with pytest.raises(QueryInvalid, match="20 levels"):
        nested(levels)


@pytest.mark.parametrize(
    "said", ["\u0645\u06cc\u200c\u062e\u0648", "\U0001f468\u200d\U0001f469", "two  blanks"]
)
def test_what_is_stored_as_it_came_is_found_as_it_came(db, said):
    (pk,) = make_images(1, caption=said, metadata={"said": said, said: 1})
    quoted = f'"{said}"'
    for written in (f"caption~{quoted}", f"meta.said={quoted}", f"meta.{quoted} exists"):
        images = apply(parse(written), Image.objects.all(), VISITOR)
        assert list(images.values_list("pk", flat=True)) == [pk]


def test_a_filter_of_too_many_conditions_cannot_be_made():
    one = Condition("tag", Operator.IS, "sea")
    with pytest.raises(QueryInvalid, match="200 conditions"):
        And((one,) * 201)
    many = Condition("tag", Operator.IN, [str(i) for i in range(100)])
    with pytest.raises(QueryInvalid, match="200 conditions"):
        And((many, many, one))
    with pytest.raises(QueryInvalid, match="OR"):
        Or(())


def test_a_filter_of_too_many_searches_through_texts_cannot_be_made():
    one = Condition("camera", Operator.CONTAINS, "can")
    tag = Condition("tag", Operator.IS, "sea")
    assert And((Or((one,) * 5), Not(And((one,) * 5)), tag)).contains == 10
    for make in (
        lambda: Or((one,) * 11),
        lambda: And((Or((one,) * 5), Not(And((one,) * 6)))),
        lambda: parse(" ".join(["camera~can"] * 11)),
    ):
        with pytest.raises(QueryInvalid, match="at most 10 conditions with ~"):
            make()


def test_equal_numbers_and_truths_are_different_conditions():
    one, true, text = (Condition("meta.x", Operator.IS, value) for value in (1, True, "1"))
    assert len({one, true, text}) == 3
    assert Condition("meta.x", Operator.IS, 1.0) == one


def test_plain_parameters_are_combined_without_a_level_of_their_own():
    assert conditions() == EVERYTHING
    sea = conditions(tags=(" Sea ",))
    assert sea == Condition("tag", Operator.IS, "sea")
    both = all_of([sea, conditions(album="Trip", visibility="public")])
    assert isinstance(both, And)
    assert len(both.parts) == 3
    assert all_of([EVERYTHING]) == EVERYTHING
    assert any_of([sea]) == sea


@pytest.mark.slow
def test_indexes_serve_the_filters_that_leave_few(db):
    """On 10,000 rows Postgres chooses each by itself."""
    with connection.cursor() as cursor:
        make_user("ann")
        cursor.execute(FILL, [make_user("ann").pk])
        cursor.execute("ANALYZE gallery_image")
    for text, index in SERVED.items():
        plan = apply(parse(text), Image.objects.order_by(), make_user("ann")).explain()
        assert index in plan, f"{text}\n{plan}"


FILL = """
INSERT INTO gallery_image (uuid, owner_id, file, thumbnail_small, thumbnail_large, sha256,
    original_name, mime_type, width, height, bytes, taken_at, camera, latitude, longitude,
    colours, caption, category, metadata, source_url, licence, attribution, visibility, state,
    failure, added_at, changed_at)
SELECT gen_random_uuid(), %s, '', '', '', lpad(i::text, 64, '0'),
    'image ' || i, CASE i %% 200 WHEN 0 THEN 'image/bmp' ELSE 'image/jpeg' END,
    100 + i %% 5000, 100 + i %% 4000, i * 100, now() - i * interval '1 hour',
    'camera ' || i %% 300, 90 * sin(i), 180 * cos(i * 7),
    jsonb_build_array(jsonb_build_object(
        'hex', '#' || lpad(to_hex((i * 7919) %% 16777216), 6, '0'), 'share', 0.6)),
    '', 'category ' || i %% 300, jsonb_build_object('iso', i %% 500), '',
    'licence ' || i %% 300, '', 'public', 'ready', '', now() - i * interval '1 minute', now()
FROM generate_series(1, 10000) i
"""

SERVED = {
    'camera:"Camera 7"': "image_camera",
    'category:"CATEGORY 7"': "image_category",
    'licence:"licence 7"': "image_licence",
    "format:bmp": "image_format",
    "width:4711": "image_width",
    "height:3999": "image_height",
    "size<10kB": "image_bytes",
    "megapixels<0.0105": "image_pixels",
    "taken>=" + datetime.now(UTC).date().isoformat(): "image_taken_at",
    "near:52.5,13.4,50km": "image_place",
    "colour:#336699~5": "image_colours",
    "meta.iso:400": "image_metadata",
}
