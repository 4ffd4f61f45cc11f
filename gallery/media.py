"""Where browsers find thumbnails: here, or at the CDN."""

from __future__ import annotations

from django.conf import settings

from gallery import addresses
from gallery.models import Image, Visibility


def thumbnail_url(image: Image, pixels: int) -> str:
    """Return the address of a thumbnail: at the CDN when everybody may see the image."""
    is_for_everybody = settings.PUBLIC_SEARCH and image.visibility == Visibility.PUBLIC
    if settings.MEDIA_CDN_URL and is_for_everybody:
        path = addresses.of("public-thumbnail", image.uuid, pixels)
        return f"{settings.MEDIA_CDN_URL}{path}"
    return addresses.of("thumbnail", image.uuid, pixels)
