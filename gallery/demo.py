"""The demo gallery: scenes that Semblance draws itself, as images like any others."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from random import Random
from typing import IO

from django.contrib.auth.base_user import AbstractBaseUser
from django.utils import timezone

import scenes
from gallery.importers import Item
from gallery.models import Image, Visibility
from scenes import Light, Place, Scene

COUNT = 400
CATEGORY = "demo"
SIZE = (800, 600)

_YEARS = range(2019, 2026)
_HOURS = {Light.DAY: (9, 17), Light.SUNSET: (18, 20), Light.NIGHT: (21, 23)}


class Demo:
    """An importer of drawn scenes that the owner does not have yet; each is drawn when opened."""

    def __init__(self, owner: AbstractBaseUser, *, count: int = COUNT) -> None:
        held = set(
            Image.objects.filter(owner_id=owner.pk, category=CATEGORY)
            .order_by()
            .values_list("metadata__seed", flat=True)
        )
        # A complete demo is known by its number, without composing a scene.
        all_scenes: Iterable[Scene] = scenes.demo(count) if len(held) < count else ()
        self._scenes = [scene for scene in all_scenes if scene.seed not in held]

    def __len__(self) -> int:
        return len(self._scenes)

    def __iter__(self) -> Iterator[Item]:
        return map(_item, self._scenes)


def _item(scene: Scene) -> Item:
    return Item(
        name=f"scene-{scene.seed}.jpg",
        open=partial(_draw, scene),
        caption=_sentence(scenes.describe(scene)),
        tags=scene.tags,
        album="Demo",
        category=CATEGORY,
        metadata={"seed": scene.seed, "style": scene.style, "place": scene.place},
        licence="MIT",
        attribution="Semblance, drawn scenes",
        visibility=Visibility.PUBLIC,
        taken_at=_taken_at(scene),
    )


def _draw(scene: Scene) -> IO[bytes]:
    file = io.BytesIO()
    scenes.draw(scene, SIZE).save(file, "JPEG", quality=92, subsampling=0)
    return file


def _taken_at(scene: Scene) -> datetime:
    """Return a time that fits the scene: snow lies in winter, and nights are late."""
    random = Random(scene.seed)
    month = random.choice((12, 1, 2)) if scene.place is Place.SNOW else random.randint(1, 12)
    return timezone.make_aware(
        datetime(
            random.choice(_YEARS),
            month,
            random.randint(1, 28),
            random.randint(*_HOURS[scene.light]),
            random.randrange(60),
        )
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
