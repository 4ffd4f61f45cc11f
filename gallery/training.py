"""Images with captions as an encoder learns from them: the library's own, or a source's."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from django.contrib.auth.models import User
from django.core.files.storage import FileSystemStorage
from PIL.Image import Image as Pixels

from embeddings.encoders import sources as encoders
from embeddings.models import Space
from embeddings.streams import read_ids, read_vectors
from embeddings.training.examples import Example, ExampleUnreadable, Listed
from embeddings.vectors import Vector
from gallery import originals, texts
from gallery.decoding import decoders
from gallery.errors import ImageRefused, StorageAway, StorageUnavailable
from gallery.importers import Item, ItemUnreadable, Skipped, Source, SourceAway, check_error
from gallery.models import Caption, Image, ImageEmbedding
from gallery.trees import roots

AT_ONCE = 1000  # images whose rows one statement reads
PAUSES = (1.0, 4.0, 15.0)  # seconds, before one that may answer again is asked again

Open = Callable[[int], Pixels]  # by how many pixels the shorter edge need have at most


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
                open=partial(_patiently, partial(_open_image, image)),
                vector=vector_by_id.get(image.pk),
            )


def of_source(source: Source) -> Iterator[Listed]:
    """Yield what a source lists, and why it leaves out what. Raise SourceUnreadable."""
    for item in source.items():
        if isinstance(item, Skipped):
            yield _unreadable(f"{item.key}: {item.reason}")
            continue
        said = (item.about.caption, *(text for _, text in item.about.captions))
        yield Example(item.key, said, partial(_patiently, partial(_open_item, source, item)))


def _vectors(space: Space, image_ids: list[int]) -> dict[int, Vector]:
    ids, vectors = read_vectors(ImageEmbedding, space, only=np.array(image_ids))
    return dict(zip(ids.tolist(), vectors, strict=True))


def _patiently(open_: Open, edge: int) -> Pixels:
    """Open an image, and wait a little where what it lies in does not answer."""
    for pause in PAUSES:
        try:
            return open_(edge)
        except (StorageAway, SourceAway):
            time.sleep(pause)
    return open_(edge)


def _open_image(image: Image, edge: int) -> Pixels:
    try:
        with originals.opened(image) as file:
            return decoders.open_stored(file, edge=edge)
    except (ImageRefused, OSError, StorageUnavailable) as error:
        sentence = f"Image {image.pk} cannot be read: {_why(error).rstrip('.')}."
        if not isinstance(error, ImageRefused) and _is_away(image, error):
            # What is learnt must not depend on which files could be had just then.
            raise StorageAway(f"{sentence} Try the same command again later.") from error
        raise _unreadable(sentence) from error


def _is_away(image: Image, error: OSError | StorageUnavailable) -> bool:
    """Whether no file is at fault: the storage does not answer, or the disk is not mounted."""
    if not isinstance(error, FileNotFoundError):
        return originals.is_passing(error)
    storage = image.file.storage
    if not image.file or not isinstance(storage, FileSystemStorage):
        return False
    try:
        return roots.is_bare(str(storage.location))
    except (FileNotFoundError, NotADirectoryError):
        return True


def _open_item(source: Source, item: Item, edge: int) -> Pixels:
    if item.url:
        raise _unreadable(
            f"{item.key} is at an address: import the images first, and train on the library."
        )
    try:
        with source.open(item.key) as file:
            return decoders.open_foreign(file, edge=edge)
    except (ImageRefused, ItemUnreadable, OSError) as error:
        if isinstance(error, OSError):
            check_error(error)  # as for images of the library: no file is at fault
        raise _unreadable(f"{item.key} cannot be read: {_why(error).rstrip('.')}.") from error


def _unreadable(sentence: str) -> ExampleUnreadable:
    # Names are a stranger's, and will be shown on a terminal.
    return ExampleUnreadable(texts.printable(sentence)[:500])


def _why(error: Exception) -> str:
    # The text of an OSError may name a path of this machine.
    return getattr(error, "strerror", None) or str(error)
