"""What the tests of the API and the admin send and look at."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image as PillowImage

from gallery.ingest import NewImage, add_image
from gallery.models import ApiToken, Image
from tests.rows import make_user


def picture(seed: int = 0) -> bytes:
    """Return a small PNG that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def png(seed: int = 0, name: str = "boat.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, picture(seed), "image/png")


def stored(seed: int = 0, owner: str = "ann", **given: Any) -> Image:
    """Return an image of the gallery, brought in as every image is."""
    given = {"visibility": "public", "original_name": f"{seed}.png"} | given
    return add_image(NewImage(file=io.BytesIO(picture(seed)), owner=make_user(owner), **given))[0]


def as_user(name: str = "ann", **fields: Any) -> Client:
    """Return a client that sends a token of this user."""
    token = ApiToken.issue(make_user(name, **fields), "test")
    return Client(headers={"Authorization": f"Bearer {token}"})
