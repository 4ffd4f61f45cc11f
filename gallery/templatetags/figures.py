"""How images are laid out: their shape as a class, their thumbnails as a srcset."""

from __future__ import annotations

import math

from django import template

from gallery import media, thumbnails
from gallery.models import Image

register = template.Library()

# Width to height in percent, the usual shapes among them. Pages carry no style attributes (their
# Content-Security-Policy forbids them), so a shape comes as a class such as "ratio-133".
RATIOS = (
    40,
    50,
    56,
    60,
    67,
    71,
    75,
    80,
    90,
    100,
    110,
    120,
    125,
    133,
    141,
    150,
    167,
    178,
    200,
    250,
    300,
)


@register.filter
def ratio_class(image: Image) -> str:
    """Return the class of the nearest shape."""
    percent = 100 * image.width / image.height
    nearest = min(RATIOS, key=lambda ratio: abs(math.log(ratio / percent)))
    return f"ratio-{nearest}"


@register.filter
def thumbnail(image: Image, pixels: int) -> str:
    """Return the address of a thumbnail."""
    return media.thumbnail_url(image, pixels)


@register.filter
def srcset(image: Image) -> str:
    """Return both thumbnails with their real widths, as the img attribute wants them."""
    widths = {
        edge: round(image.width * min(1, edge / max(image.width, image.height)))
        for edge in (thumbnails.SMALL, thumbnails.LARGE)
    }
    return ", ".join(
        f"{media.thumbnail_url(image, edge)} {max(width, 1)}w" for edge, width in widths.items()
    )


@register.filter
def web_address(address: str) -> str:
    """Return the address if a browser may follow it, else "": importers bring any text."""
    return address if address.startswith(("https://", "http://")) else ""


@register.filter
def percent(share: float) -> str:
    return f"{share:.0%}"
