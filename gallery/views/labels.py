"""The words that the pages have for the choices of a query."""

from __future__ import annotations

from gallery.models import Visibility
from gallery.query import Aggregate, Band, Encoders, Filter, Leg, Mode, Operator, Order, language
from gallery.query.colours import NAMES
from gallery.query.fields import FORMATS, ORIENTATIONS, field_of
from gallery.query.filters import Condition

Choices = tuple[tuple[str, str], ...]

MODES: Choices = (
    (Mode.SEMANTIC, "What images show"),
    (Mode.KEYWORD, "Words in captions and tags"),
    (Mode.HYBRID, "Both"),
)
ORDERS: Choices = (
    (Order.RELEVANCE, "Nearest first"),
    (Order.NEWEST_TAKEN, "Newest first"),
    (Order.TAKEN, "Oldest first"),
    (Order.NEWEST_ADDED, "Last added first"),
    (Order.ADDED, "First added first"),
    (Order.NAME, "File name"),
    (Order.NAME_BACKWARDS, "File name, backwards"),
    (Order.LARGEST, "Largest first"),
    (Order.SIZE, "Smallest first"),
)
BANDS: Choices = (
    (Band.LIKELY, "Likely ones only"),
    (Band.MAYBE, "Likely and maybe"),
    (Band.UNLIKELY, "All, unlikely ones too"),
)
AGGREGATES: Choices = (
    (Aggregate.MEAN, "All of them together"),
    (Aggregate.MAX, "Whichever is nearest"),
    (Aggregate.RECIPROCAL_RANK, "By the ranks of each"),
)
ENCODERS: Choices = (
    (Encoders.ACTIVE, "The one in use"),
    (Encoders.BOTH, "Both, by the ranks of each"),
)
VISIBILITIES: Choices = (("", "Any"), *Visibility.choices)
FORMAT_NAMES = {"webp": "WebP"}
FORMAT_CHOICES: Choices = (
    ("", "Any"),
    *((name, FORMAT_NAMES.get(name, name.upper())) for name in FORMATS),
)
ORIENTATION_CHOICES: Choices = (
    ("", "Any"),
    *((name, name.capitalize()) for name in ORIENTATIONS),
)
# One shade for each name that the filter knows.
HEX_BY_COLOUR = {
    "black": "#1b1b1b",
    "white": "#fafafa",
    "grey": "#8d8d8d",
    "red": "#d62828",
    "orange": "#f2821d",
    "yellow": "#f4d23c",
    "green": "#3c9a4a",
    "blue": "#2f6fd0",
    "purple": "#7d46b8",
    "pink": "#ee87b4",
    "brown": "#7a4f2c",
}
COLOURS: Choices = tuple((name, HEX_BY_COLOUR[name]) for name in NAMES)

LEGS = {
    Leg.IMAGE: "What it shows",
    Leg.CAPTION: "Captions, by meaning",
    Leg.KEYWORD: "Words",
}
SIGNS = {
    Operator.IS: "",
    Operator.IS_NOT: "not",
    Operator.LESS: "below",
    Operator.AT_MOST: "up to",
    Operator.MORE: "above",
    Operator.AT_LEAST: "from",
    Operator.IN: "one of",
    Operator.CONTAINS: "with",
}


def described(filter_: Filter) -> tuple[str, str]:
    """Return a condition as a chip says it: what of the image, and which."""
    if not isinstance(filter_, Condition):
        return "filter", language.write(filter_)
    field = field_of(filter_.field)
    name = field.title.lower() if field.title != "Metadata" else filter_.field
    if filter_.operator == Operator.EXISTS:
        return name, "known"
    values = filter_.value if isinstance(filter_.value, tuple) else (filter_.value,)
    written = ", ".join(field.write(value).removesuffix(".0") for value in values)
    return f"{name} {SIGNS[filter_.operator]}".rstrip(), written
