"""A library in which some images point where the prompt does, and an auto tag for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embeddings import live
from embeddings.models import Space
from embeddings.vectors import Ids, Vector, Vectors, normalise
from gallery.auto_tags import changes, encoding, passes, wording
from gallery.auto_tags.changes import Setting
from gallery.models import AutoTag, Image, TagSuggestion
from gallery.search import background
from tests.rows import make_images, make_user, make_vectors, store

PROMPT = "a red boat"


def begin_anew() -> None:
    """Forget what this process knows of vectors of other tests."""
    live.forget_all()
    background._drawn.clear()


def auto_tag(owner: str = "ann", name: str = "boat", **said: Any) -> AutoTag:
    given: dict[str, Any] = {"wording": wording.read([PROMPT], ["{}"])} | said
    return changes.make(make_user(owner), name, Setting(**given))


def direction(space: Space, text: str = PROMPT) -> Vector:
    (vector,) = encoding.vectors_of(wording.read([text], ["{}"]), space)
    return np.asarray(vector, np.float32)


def images_at(space: Space, cosines: Sequence[float], *, seed: int = 0, **given: object) -> Ids:
    """Insert images whose vectors have these cosines with the prompt; return their ids."""
    ids = make_images(len(cosines), **given)
    store(ids, vectors_at(space, cosines, seed=seed), space)
    return ids


def vectors_at(space: Space, cosines: Sequence[float], *, seed: int = 0) -> Vectors:
    """Return vectors, (n, d), that have these cosines with the prompt."""
    text = direction(space)
    others = make_vectors(len(cosines), dimensions=space.dimensions, seed=seed)
    others = normalise(others - np.outer(others @ text, text))
    column = np.asarray(cosines, dtype=np.float64)[:, None]
    return normalise(column * text + np.sqrt(1 - column**2) * others)


def crowd(space: Space, n: int = 300, *, seed: int = 1, **given: object) -> Ids:
    """Insert images that have nothing to do with the prompt."""
    cosines = np.random.default_rng(seed).normal(0, 0.05, n).tolist()
    return images_at(space, cosines, seed=seed, **given)


def compare() -> int:
    """Do what the workers do, at once."""
    encoding.encode_waiting()
    return passes.run()


def state_by_id(tag: AutoTag) -> dict[int, str]:
    return dict(TagSuggestion.objects.filter(auto_tag=tag).values_list("image_id", "state"))


def tagged(tag: AutoTag) -> set[int]:
    return set(Image.objects.filter(tags=tag.tag).values_list("pk", flat=True))


def uuids(ids: Sequence[int] | Ids) -> list[object]:
    return list(
        Image.objects.filter(pk__in=[int(id_) for id_ in ids]).values_list("uuid", flat=True)
    )
