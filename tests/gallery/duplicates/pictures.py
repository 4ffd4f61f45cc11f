"""Drawn scenes, and what becomes of an image on its way through the world."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from django.utils import timezone
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageOps

import scenes
from gallery.ingest import NewImage, add_image
from gallery.models import Image, State
from tests.rows import make_user

SIZE = (640, 480)


@lru_cache(maxsize=64)
def scene(seed: int = 1) -> PillowImage.Image:
    return scenes.draw(scenes.compose(seed), SIZE)


def encoded(image: PillowImage.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def half(image: PillowImage.Image) -> PillowImage.Image:
    return image.resize((image.width // 2, image.height // 2), PillowImage.Resampling.LANCZOS)


def cropped(image: PillowImage.Image) -> PillowImage.Image:
    """Return it without the outermost hundredth of each side."""
    x, y = image.width // 100, image.height // 100
    return image.crop((x, y, image.width - x, image.height - y))


def marked(image: PillowImage.Image) -> PillowImage.Image:
    copy = image.copy()
    ImageDraw.Draw(copy).text((20, image.height - 30), "(c) Ann", fill="white", font_size=18)
    return copy


def mirrored(image: PillowImage.Image) -> PillowImage.Image:
    return ImageOps.mirror(image)


def stored(content: bytes, owner: str = "ann", **given: Any) -> Image:
    """Return an image of the gallery that is ready, but has no vector."""
    given = {"visibility": "private"} | given
    image, _ = add_image(NewImage(file=io.BytesIO(content), owner=make_user(owner), **given))
    Image.objects.filter(pk=image.pk).update(state=State.READY, changed_at=timezone.now())
    return image
