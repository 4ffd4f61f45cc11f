"""The demo gallery: scenes that Semblance draws itself, as images like any others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from random import Random
from typing import IO, ClassVar

from django.utils import timezone
from pydantic import Field

import scenes
from gallery.descriptions import Description
from gallery.importers import Item, ItemUnreadable, Source
from gallery.models import Visibility
from scenes import Light, Place, Scene

COUNT = 400
SIZE = (800, 600)

_YEARS = range(2019, 2026)
_HOURS = {Light.DAY: (9, 17), Light.SUNSET: (18, 20), Light.NIGHT: (21, 23)}


class Demo(Source):
    """Drawn scenes with captions and tags; each is drawn when it is opened."""

    kind: ClassVar[str] = "demo"

    count: int = Field(default=COUNT, ge=0, le=100_000, description="how many scenes")

    @property
    def title(self) -> str:
        return f"The demo gallery: {self.count:,} drawn scenes"

    @property
    def place(self) -> str:
        return self.kind  # the first scenes are the same, however many are asked for

    def items(self) -> Iterator[Item]:
        return map(_item, scenes.demo(self.count))

    def open(self, key: str) -> IO[bytes]:
        try:
            scene = scenes.compose(int(key))
        except ValueError as error:
            raise ItemUnreadable("There is no such scene.") from error
        file = io.BytesIO()
        scenes.draw(scene, SIZE).save(file, "JPEG", quality=92, subsampling=0)
        return file


def _item(scene: Scene) -> Item:
    return Item(
        key=str(scene.seed),
        name=f"scene-{scene.seed}.jpg",
        version="{}x{}".format(*SIZE),
        about=Description(
            caption=_sentence(scenes.describe(scene)),
            tags=tuple(scene.tags),
            album="Demo",
            category="demo",
            metadata={"seed": scene.seed, "style": scene.style, "place": scene.place},
            licence="MIT",
            attribution="Semblance, drawn scenes",
            visibility=Visibility.PUBLIC,
            taken_at=_taken_at(scene),
        ),
    )


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
