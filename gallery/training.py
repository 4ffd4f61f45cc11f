"""Images with captions as an encoder learns from them: the library's own, or a source's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import numpy as np
from django.contrib.auth.models import User
from PIL.Image import Image as Pixels

from embeddings.encoders import sources as encoders
from embeddings.models import Space
from embeddings.streams import read_ids, read_vectors
from embeddings.training.examples import Example, ExampleUnreadable
from embeddings.vectors import Vector
from gallery import originals
from gallery.decoding import decoders
from gallery.errors import ImageRefused, StorageAway, StorageUnavailable
from gallery.importers import Item, ItemUnreadable, Skipped, Source
from gallery.models import Caption, Image, ImageEmbedding

AT_ONCE = 1000  # images whose rows one statement reads


def of_library(viewer: User, base: encoders.Source | None = None) -> Iterator[Example]:
    """Yield the images that somebody may see and that have captions, by their ids.

    They come with their vectors, as far as the base has a space here.
    """
    space = None
    if base is not None:
        space = Space.objects.filter(name=base.name, revision=base.revision).first()
    captioned = Caption.objects.values("image")
    ids = read_ids(Image.objects.visible_to(viewer).filter(pk__in=captioned)).tolist()
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        captions_by_id: dict[int, list[str]] = defaultdict(list)
        captions = Caption.objects.filter(image__in=some).order_by("pk")
        for image_id, text in captions.values_list("image_id", "text"):
            captions_by_id[image_id].append(text)
        images = originals.with_places(Image.objects.filter(pk__in=some)).order_by("pk")
        vector_by_id = _vectors(space, some) if space else {}
        for image in images.only("sha256", *originals.FIELDS):
            yield Example(
                key=image.sha256,
                captions=tuple(captions_by_id[image.pk]),
                open=partial(_open_image, image),
                vector=vector_by_id.get(image.pk),
            )


def of_source(source: Source) -> Iterator[Example]:
    """Yield what a source lists with captions. Raise SourceUnreadable."""
    for item in source.items():
        if isinstance(item, Skipped):
            continue
        said = (item.about.caption, *(text for _, text in item.about.captions))
        yield Example(item.key, said, partial(_open_item, source, item))


def _vectors(space: Space, image_ids: list[int]) -> dict[int, Vector]:
    ids, vectors = read_vectors(ImageEmbedding, space, only=np.array(image_ids))
    return dict(zip(ids.tolist(), vectors, strict=True))


def _open_image(image: Image, edge: int) -> Pixels:
    try:
        with originals.opened(image) as file:
            return decoders.open_stored(file, edge=edge)
    except (ImageRefused, OSError, StorageUnavailable) as error:
        sentence = f"Image {image.pk} cannot be read: {_why(error)}"
        if not isinstance(error, ImageRefused) and originals.is_passing(error):
            # What is learnt must not depend on which files could be had just then.
            raise StorageAway(sentence) from error
        raise ExampleUnreadable(sentence) from error


def _open_item(source: Source, item: Item, edge: int) -> Pixels:
    if item.url:
        raise ExampleUnreadable(
            f"{item.key} is at an address: import the images first, and train on the library."
        )
    try:
        with source.open(item.key) as file:
            return decoders.open_new(file, edge=edge)
    except (ImageRefused, ItemUnreadable, OSError) as error:
        raise ExampleUnreadable(f"{item.key} cannot be read: {_why(error)}") from error


def _why(error: Exception) -> str:
    # The text of an OSError may name a path of this machine.
    return getattr(error, "strerror", None) or str(error)
