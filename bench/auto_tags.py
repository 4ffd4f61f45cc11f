"""Comparing images with auto tags, and how much of what is suggested and applied is right.

    .venv/bin/python bench/auto_tags.py [--quick] [--json]

Speed: 10,000 images (quick: 3,000) with clustered unit vectors of 512 dimensions, seed 1, and 200
auto tags (quick: 50) whose vectors are each the mean of 20 images beside a text, seed 2
(bench/_data.py), on an embedded Postgres of its own; one thread. Rival: for each auto tag a
statement of pgvector that finds the images above the same limit, written with bulk_create. It is
given the limits.

Quality: drawn scenes of 256x192 (400, quick: 200) with the bundled encoder, an auto tag for each
thing that scenes show, with its name as the only prompt. Answers are the truth, for the 40 images
that are most worth answering and the 20 best. Shares are means over the things.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["OMP_NUM_THREADS"] = "1"  # before numpy reads it

import numpy as np
from numpy.typing import NDArray

from bench import _library
from bench import _report as report
from bench._data import Float16s, clustered, text_like, true_nearest
from bench._report import Pair, Row

if TYPE_CHECKING:
    from embeddings.models import Space
    from embeddings.vectors import Vectors
    from gallery.auto_tags.calibration import Answers, Limits
    from gallery.models import AutoTag

RUNS = 3
NEW = 100  # images at once
ALIKE = 20  # images that a prompt lies in the middle of
WANTED = 0.9
MOST_WORTH, BEST = 40, 20  # answers


class Figures(NamedTuple):
    """Of one auto tag."""

    precision: float
    recall: float


def main() -> None:
    given = report.options(__doc__ or "")
    images, tags = (3_000, 50) if given.is_quick else (10_000, 200)
    with _library.servers():
        rows = [*speed(images, tags), *quality(200 if given.is_quick else 400)]
    report.show(rows, given)


def speed(n: int, tags: int) -> list[Row]:
    from embeddings.vectors import normalise
    from gallery.auto_tags import comparing, encoding, passes

    space = _library.make_space()
    vectors = clustered(n + NEW, seed=1)
    _library.fill(space, vectors[:n])
    beside = true_nearest(vectors, text_like(vectors, tags, seed=2), k=ALIKE)
    prompts = normalise(vectors[beside].astype(np.float32).mean(axis=1))
    made = make_auto_tags(space, prompts)
    passes.run()
    limits = [comparing.limits_in(one) for one in encoding.encoded_in(space)]
    found = suggested()
    what = f"{tags} auto tags, {n:,} images, {found:,} suggestions"
    return [
        report.faster(what, in_turn(passes.run, lambda: usual(space, made, limits)), floor=1.5),
        report.at_most("the same again", again(passes.run), 5.0, "s"),
        report.at_most(f"{NEW} new images", new_images(space, vectors[n:], passes.run), 1.0, "s"),
    ]


def make_auto_tags(space: Space, prompts: Vectors) -> list[AutoTag]:
    """Insert auto tags as if their prompts were encoded."""
    from django.contrib.auth.models import User

    from gallery.auto_tags.wording import Wording, packed
    from gallery.models import AutoTag, AutoTagCalibration, Tag

    owner = User.objects.get(username="bench")
    names = Tag.objects.bulk_create([Tag(name=f"tag {n}") for n in range(len(prompts))])
    made = AutoTag.objects.bulk_create(
        [
            AutoTag(
                owner=owner,
                tag=tag,
                prompts=[tag.name],
                templates=["{}"],
                wording=Wording((tag.name,), ("{}",)).sha256,
            )
            for tag in names
        ]
    )
    AutoTagCalibration.objects.bulk_create(
        [
            AutoTagCalibration(
                auto_tag=auto_tag, space=space, wording=auto_tag.wording, vectors=packed(prompt)
            )
            for auto_tag, prompt in zip(made, prompts, strict=True)
        ]
    )
    return made


def usual(space: Space, auto_tags: list[AutoTag], limits: list[Limits]) -> None:
    """Do it as one does with pgvector's own lookups and Django's ORM."""
    from pgvector.django import CosineDistance

    from gallery.auto_tags.wording import unpacked
    from gallery.models import AutoTagCalibration, ImageEmbedding, TagSuggestion

    stored = dict(AutoTagCalibration.objects.values_list("auto_tag", "vectors"))
    for auto_tag, limit in zip(auto_tags, limits, strict=True):
        (prompt,) = unpacked(stored[auto_tag.pk], space.dimensions)
        near = (
            ImageEmbedding.objects.filter(space=space, image__owner=auto_tag.owner_id)
            .annotate(distance=CosineDistance("vector", prompt.tolist()))
            .filter(distance__lte=1 - limit.suggest)
            .values_list("image_id", "distance")
        )
        TagSuggestion.objects.bulk_create(
            [
                TagSuggestion(
                    auto_tag=auto_tag, image_id=image_id, state="open", score=1 - distance
                )
                for image_id, distance in near
            ],
            ignore_conflicts=True,
        )


def in_turn(ours: Callable[[], object], rival: Callable[[], object]) -> Pair:
    """Return the median seconds of both, each from a state without suggestions."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for way, seconds in zip((ours, rival), times, strict=True):
            forget()
            seconds.append(report.seconds_of(way))
    forget()
    ours()
    return Pair(float(np.median(times[0])), float(np.median(times[1])))


def again(run: Callable[[], object]) -> float:
    """Return the seconds of comparing all once more, when nothing has changed."""
    from gallery.models import AutoTagCalibration

    AutoTagCalibration.objects.update(version=None)
    return report.seconds_of(run)


def new_images(space: Space, vectors: Float16s, run: Callable[[], object]) -> float:
    """Return the seconds from the vectors of some new images to their suggestions."""
    from django.contrib.auth.models import User

    from gallery.models import Image, ImageEmbedding

    owner = User.objects.get(username="bench")
    images = Image.objects.bulk_create(
        [
            Image(
                owner=owner, sha256=f"new {n}", mime_type="image/jpeg", width=4, height=3,
                bytes=12, visibility="public", state="ready",
            )
            for n in range(len(vectors))
        ]
    )  # fmt: skip
    ImageEmbedding.objects.bulk_create(
        [
            ImageEmbedding(image=image, space=space, vector=vector.tolist())
            for image, vector in zip(images, vectors, strict=True)
        ]
    )
    before = suggested()
    seconds = report.seconds_of(run)
    assert suggested() > before
    return seconds


def forget() -> None:
    from gallery.models import AutoTagCalibration, TagSuggestion

    TagSuggestion.objects.all().delete()
    AutoTagCalibration.objects.update(version=None)


def suggested() -> int:
    from gallery.models import TagSuggestion

    return TagSuggestion.objects.count()


def quality(n: int) -> list[Row]:
    """How right it is, before and after answers."""
    before: dict[str, list[Figures]] = {"suggested": [], "applied": []}
    after: dict[str, list[Figures]] = {"suggested": [], "applied": []}
    for scores, is_true in things(n):
        first = limits(scores, nobody())
        said = asked(scores, is_true, first)
        for found, figures in ((first, before), (limits(scores, said), after)):
            for name, limit in (("suggested", found.suggest), ("applied", found.apply)):
                figures[name].append(figures_of(scores >= limit, is_true))
    return [
        *told("suggested without answers", before["suggested"], Figures(0.8, 0.5)),
        *told("applied without answers", before["applied"], Figures(0.95, 0.1)),
        *told("suggested with answers", after["suggested"], Figures(0.6, 0.7)),
        *told("applied with answers", after["applied"], Figures(WANTED, 0.3)),
    ]


def told(what: str, figures: list[Figures], floors: Figures) -> list[Row]:
    return [
        report.at_least(f"{what}: {name}", mean(figures, name), getattr(floors, name))
        for name in Figures._fields
    ]


def things(n: int) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Return scores of scenes and whether they show it, for each thing that some show."""
    import scenes
    from embeddings.encoders import registry, sources
    from scenes.statements import Mention, Statement
    from scenes.vocabulary import Thing

    encoder = registry.open_source(sources.find("bundled"))
    some = list(scenes.demo(n))
    vectors = encoder.encode_images([scenes.draw(scene, (256, 192)) for scene in some])
    found = []
    for thing in Thing:
        statement = Statement((Mention(thing),))
        is_true = np.array([statement.is_true_of(scene) for scene in some])
        if is_true.any():
            prompt = encoder.encode_texts([str(thing.value)])[0]
            found.append(((vectors @ prompt).astype(np.float32), is_true))
    return found


def limits(scores: NDArray[np.float32], said: Answers) -> Limits:
    from gallery.auto_tags import calibration
    from gallery.search.bands import background_of

    return calibration.limits_of(
        background_of(scores, len(scores)),
        -np.sort(-scores),
        said,
        wanted_precision=WANTED,
        fitted=calibration.fit(said),
    )


def nobody() -> Answers:
    from gallery.auto_tags.calibration import Answers

    return Answers(np.empty(0, np.float32), np.empty(0, np.bool_))


def asked(scores: NDArray[np.float32], is_true: NDArray[np.bool_], found: Limits) -> Answers:
    from gallery.auto_tags.calibration import Answers

    places = np.argsort(np.abs(scores - found.border))[:MOST_WORTH]
    places = np.union1d(places, np.argsort(-scores)[:BEST])
    return Answers(scores[places], is_true[places])


def figures_of(found: NDArray[np.bool_], is_true: NDArray[np.bool_]) -> Figures:
    both = float(np.count_nonzero(found & is_true))
    n = np.count_nonzero(found)
    return Figures(both / n if n else np.nan, both / np.count_nonzero(is_true))


def mean(figures: list[Figures], name: str) -> float:
    """Return the mean of a figure, of those that have one: what finds nothing has no precision."""
    return float(np.nanmean([getattr(one, name) for one in figures]))


if __name__ == "__main__":
    main()
