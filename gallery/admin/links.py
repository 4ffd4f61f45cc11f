"""Small pieces of HTML that several tables show."""

from __future__ import annotations

from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from gallery.models import Image, SourceLink


def thumbnail(image: Image, *, edge: int = 72) -> SafeString:
    """The small thumbnail in a square of so many pixels."""
    return format_html(
        '<img src="{}" alt="{}" loading="lazy" width="{}" height="{}" '
        'style="object-fit:contain;border-radius:4px">',
        reverse("thumbnail", args=[image.uuid, 256]),
        alternative_text(image),
        edge,
        edge,
    )


def preview(image: Image) -> SafeString:
    """The large thumbnail, which leads to the page of the image."""
    return format_html(
        '<a href="{}"><img src="{}" alt="{}" '
        'style="max-width:100%;max-height:560px;border-radius:4px"></a>',
        image.get_absolute_url(),
        reverse("thumbnail", args=[image.uuid, 1024]),
        alternative_text(image),
    )


def alternative_text(image: Image) -> str:
    return image.caption[:100] or image.original_name


def broken_mark(image: Image) -> SafeString:
    """A word below the name of an image whose source is gone, and nothing else."""
    known = SourceLink.of(image)
    if known is None or not known.is_broken:
        return SafeString()
    return format_html(
        '<br><small title="{}" style="color:var(--error-fg)">source link broken</small>',
        known.reason,
    )


def images_link(text: str, **conditions: str) -> SafeString:
    """A link to the table of the images that meet the conditions."""
    address = reverse("admin:gallery_image_changelist")
    return format_html('<a href="{}?{}">{}</a>', address, urlencode(conditions), text)
