"""Numbers and times as people say them."""

from __future__ import annotations

from django import template

from gallery.videos.times import clock

register = template.Library()
register.filter(clock)

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@register.filter
def thousands(number: int) -> str:
    return f"{number:,}"


@register.filter
def span(seconds: float) -> str:
    """Return a time in its largest unit, such as "about 3 minutes"."""
    for size, unit in _UNITS:
        if seconds >= size or size == 1:
            count = max(1, round(seconds / size))
            return f"{count} {unit}{'' if count == 1 else 's'}"
    raise AssertionError


@register.filter
def seconds_value(seconds: float) -> str:
    """Return seconds as an address has them, in any language."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


@register.filter
def speed(per_second: float) -> str:
    if not per_second:
        return ""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"
