"""Comparing images with auto tags, and how much of what is suggested and applied is right.

    .venv/bin/python bench/auto_tags.py [--quick] [--json]

Speed: 10,000 images (quick: 3,000) with clustered unit vectors of 512 dimensions, seed 1, and 200
auto tags (quick: 50) whose vectors are each the mean of 20 images beside a text, seed 2
(bench/_data.py), on an embedded Postgres of its own; one thread. Two rivals, given the limits: the
way that is common in photo servers (vectors read through the ORM, a product in numpy for each auto
tag, an update_or_create for each image that fits), and the best that pgvector and Django offer (a
statement for each auto tag that finds what lies above its limit, and one bulk_create).

The floors, and why:

- 5 times the common way. A row costs Postgres some 50 microseconds whoever writes it: the tuple,
  three indexes, three foreign keys. One by one it costs two statements and a commit besides, five
  times as much at the least; less would mean that batches give nothing.
- No slower than pgvector and bulk_create, which compute the same and write as many rows at once,
  but know nothing of answers, of tags that are there, or of who holds what meanwhile.
- 10 s for all auto tags, as after a list was loaded or the encoder switched: so long somebody keeps
  their mind on it (Nielsen 1993). 1 s for one that was just written: so long they stay in thought.
- 3 s for all of them once more: answers move limits once a minute at most, so that is 5 % of a core
  for somebody who answers for all of them at once.
- 0.3 s when nothing is new, which is asked every 30 s: 1 % of a core.
- 0.73 s for 100 new images: so long 100 photos take to be embedded at the best rate measured on
  such a machine (136 a second); auto tags must not fall behind it.

The limit column says how much of the bandwidth of memory reading the vectors would need.

Quality: 1,000 drawn scenes of 256x192 (quick: 600) with the bundled encoder, an auto tag for each
thing that scenes show, with its name as the only prompt; shares are means over the things. Answers
are the truth, for the 40 images that are most worth answering and the 20 best; what follows from
them is measured on the images that nobody was asked about. The floors:

- What is suggested without answers: 0.9 of the F1 of one flat limit of the score for all things,
  which is how it is commonly done. The flat limit for a thing is the best one for all other things,
  by their truth: as an author chooses a constant who knows encoder and labels. No more is asked,
  because the rival knows what nobody tells us: this encoder was made for these things and scores
  them all alike, so that one constant is nearly the best limit for each, while scores alone
  show no limit for a thing whose two heaps of scores overlap. Ours has to do for any words: the
  flat limit suggests every scene for what the encoder never learned. So for words of what no scene
  shows, no more scenes may be suggested than with the flat limit.
- And more yes than no (precision 0.5), or nobody would go through them; the rival there is chance,
  the share of scenes that show the thing.
- What is applied, with and without answers: 0.9, the wanted precision that was asked for. Without
  answers no recall is promised.
- Answers make the recall of neither smaller than it was without them, on the same images.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
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
NOT_DRAWN = (
    *("zeppelin", "bicycle", "elephant", "guitar", "bridge", "train", "violin", "teapot"),
    *("snake", "keyboard", "tractor", "castle"),
)


class Figures(NamedTuple):
    """Of one auto tag."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both > 0 else 0.0


class Truth(NamedTuple):
    """Scores of scenes for a thing, and which of them show it."""

    scores: NDArray[np.float32]
    is_true: NDArray[np.bool_]


def main() -> None:
    given = report.options(__doc__ or "")
    images, tags, scenes = (3_000, 50, 600) if given.is_quick else (10_000, 200, 1_000)
    with _library.servers():
        report.show(chain(speed(images, tags), quality(scenes)), given)


def speed(n: int, tags: int) -> Iterator[Row]:
    from embeddings.vectors import normalise
    from gallery.auto_tags import comparing, encoding, passes

    report.tell("writing images")
    space = _library.make_space()
    vectors = clustered(n + NEW, seed=1)
    _library.fill(space, vectors[:n])
    beside = true_nearest(vectors, text_like(vectors, tags, seed=2), k=ALIKE)
    prompts = normalise(vectors[beside].astype(np.float32).mean(axis=1))
    made = make_auto_tags(space, prompts)
    passes.run()
    limits = [comparing.limits_in(one) for one in encoding.encoded_in(space)]
    what = f"{tags} auto tags, {n:,} images, {suggested():,} suggestions"
    read = vectors[:n].nbytes

    one_by_one = in_turn(passes.run, partial(usual, space, made, limits), runs=1)
    yield report.faster(f"{what}; one by one", one_by_one, floor=5.0)
    pair = in_turn(passes.run, partial(by_pgvector, space, made, limits), runs=RUNS)
    limit = report.of_bandwidth(read, pair.ours)
    yield report.faster(f"{what}; pgvector", pair, floor=1.0, limit=limit)
    yield report.at_most("all of them", pair.ours, 10.0, "s")
    again = seconds_again(passes.run)
    limit = report.of_bandwidth(read, again)
    yield report.at_most("the same again", again, 3.0, "s", limit=limit)
    yield report.at_most("one of them", seconds_again(passes.run, made[0]), 1.0, "s")
    yield report.at_most("when nothing is new", report.seconds_of(passes.run), 0.3, "s")
    yield report.at_most(f"{NEW} new images", new_images(space, vectors[n:], passes.run), 0.73, "s")


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
    """Do it as photo servers do: a product for each, and a row at a time."""
    from gallery.auto_tags.wording import unpacked
    from gallery.models import AutoTagCalibration, ImageEmbedding, TagSuggestion

    rows = list(ImageEmbedding.objects.filter(space=space).values_list("image_id", "vector"))
    vectors = np.array([vector for _, vector in rows], np.float32)
    stored = dict(AutoTagCalibration.objects.values_list("auto_tag", "vectors"))
    for auto_tag, limit in zip(auto_tags, limits, strict=True):
        (prompt,) = unpacked(stored[auto_tag.pk], space.dimensions)
        scores = vectors @ prompt
        for place in np.flatnonzero(scores >= limit.suggest).tolist():
            TagSuggestion.objects.update_or_create(
                auto_tag=auto_tag,
                image_id=rows[place][0],
                defaults={"state": "open", "score": float(scores[place])},
            )


def by_pgvector(space: Space, auto_tags: list[AutoTag], limits: list[Limits]) -> None:
    """Do it with pgvector's own lookups and Django's bulk insert."""
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


def in_turn(ours: Callable[[], object], rival: Callable[[], object], *, runs: int) -> Pair:
    """Return the median seconds of both, each from a state without suggestions."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for way, seconds in zip((ours, rival), times, strict=True):
            forget()
            seconds.append(report.seconds_of(way))
    forget()
    ours()
    return Pair(float(np.median(times[0])), float(np.median(times[1])))


def seconds_again(run: Callable[[], object], one: AutoTag | None = None) -> float:
    """Return the median seconds of comparing all, or one, once more, when nothing has changed."""
    from gallery.models import AutoTagCalibration

    rows = AutoTagCalibration.objects.filter(auto_tag=one) if one else AutoTagCalibration.objects
    seconds = []
    for _ in range(RUNS):
        rows.update(version=None)
        seconds.append(report.seconds_of(run))
    return float(np.median(seconds))


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


def quality(n: int) -> Iterator[Row]:
    """How right it is, before and after answers."""
    report.tell("drawing scenes")
    some, absent = things(n)
    first = [limits(one.scores, nobody()) for one in some]
    places = [asked(one.scores, found) for one, found in zip(some, first, strict=True)]
    then = [limits(one.scores, said(one, at)) for one, at in zip(some, places, strict=True)]
    rest = [others(one, at) for one, at in zip(some, places, strict=True)]

    suggested = [figures_of(one, found.suggest) for one, found in zip(some, first, strict=True)]
    flat = [figures_of(one, flat_limit(some, but=place)) for place, one in enumerate(some)]
    chance = float(np.mean([one.is_true.mean() for one in some]))
    f1, rival = (float(np.mean([one.f1 for one in each])) for each in (suggested, flat))
    yield Row("suggested: F1; one flat limit", f"{f1:.3f}", f"{rival:.3f}", f1 / rival, 0.9)
    yield of_nothing(absent, flat_limit(some, but=-1))
    yield report.at_least(
        "suggested: precision; chance", mean(suggested, "precision"), 0.5, rival=chance
    )
    yield told("suggested: recall", mean(suggested, "recall"))
    applied = [figures_of(one, found.apply) for one, found in zip(some, first, strict=True)]
    yield report.at_least("applied: precision", mean(applied, "precision"), WANTED)
    yield told("applied: recall", mean(applied, "recall"))

    for name, floor in (("suggest", 0.5), ("apply", WANTED)):
        before, after = (
            [figures_of(one, getattr(found, name)) for one, found in zip(rest, each, strict=True)]
            for each in (first, then)
        )
        what = f"{name} after answers, of the others"
        yield report.at_least(f"{what}: precision", mean(after, "precision"), floor)
        recall = mean(before, "recall"), mean(after, "recall")
        yield Row(
            f"{what}: recall; before", f"{recall[1]:.3f}", f"{recall[0]:.3f}",
            recall[1] / max(recall[0], 1e-9), 1.0,
        )  # fmt: skip


def of_nothing(absent: list[NDArray[np.float32]], flat: float) -> Row:
    """Return the row of the share of scenes that is suggested for what none shows."""
    ours = np.mean([np.mean(scores >= limits(scores, nobody()).suggest) for scores in absent])
    rival = np.mean([np.mean(scores >= flat) for scores in absent])
    ratio = float(rival / max(ours, 1e-4))
    return Row("suggested of what none shows; one flat", f"{ours:.4f}", f"{rival:.4f}", ratio, 1.0)


def told(what: str, value: float) -> Row:
    return Row(what, f"{value:.3f}", "", 1.0, 0.0)


def things(n: int) -> tuple[list[Truth], list[NDArray[np.float32]]]:
    """Return the scores of scenes, and which show it, for each thing that some show.

    And the scores for things that none shows.
    """
    import scenes
    from embeddings.encoders import opening, sources
    from scenes.statements import Mention, Statement
    from scenes.vocabulary import Thing

    encoder = opening.open_source(sources.find("bundled"))
    some = list(scenes.demo(n))
    vectors = encoder.encode_images([scenes.draw(scene, (256, 192)) for scene in some])
    found = []
    for thing in Thing:
        statement = Statement((Mention(thing),))
        is_true = np.array([statement.is_true_of(scene) for scene in some])
        if is_true.any():
            prompt = encoder.encode_texts([str(thing.value)])[0]
            found.append(Truth((vectors @ prompt).astype(np.float32), is_true))
    absent = [encoder.encode_texts([word])[0] for word in NOT_DRAWN]
    return found, [(vectors @ prompt).astype(np.float32) for prompt in absent]


def flat_limit(some: list[Truth], *, but: int) -> float:
    """Return the limit that gives the best mean F1 for all things but one."""
    known = [one for place, one in enumerate(some) if place != but]
    tried = np.quantile(np.concatenate([one.scores for one in known]), np.linspace(0.5, 0.999, 100))
    return float(
        max(tried, key=lambda limit: np.mean([figures_of(one, limit).f1 for one in known]))
    )


def limits(scores: NDArray[np.float32], answers: Answers) -> Limits:
    from gallery.auto_tags import calibration

    (ground,) = calibration.grounds_of(scores[:, None], len(scores))
    return calibration.limits_of(
        ground,
        -np.sort(-scores),
        answers,
        wanted_precision=WANTED,
        fitted=calibration.fit(answers),
    )


def nobody() -> Answers:
    from gallery.auto_tags.calibration import Answers

    return Answers(np.empty(0, np.float32), np.empty(0, np.bool_))


def asked(scores: NDArray[np.float32], found: Limits) -> NDArray[np.int64]:
    """Return the places of the images that somebody is asked about."""
    places = np.argsort(np.abs(scores - found.border))[:MOST_WORTH]
    return np.union1d(places, np.argsort(-scores)[:BEST])


def said(one: Truth, places: NDArray[np.int64]) -> Answers:
    from gallery.auto_tags.calibration import Answers

    return Answers(one.scores[places], one.is_true[places])


def others(one: Truth, places: NDArray[np.int64]) -> Truth:
    rest = np.delete(np.arange(len(one.scores)), places)
    return Truth(one.scores[rest], one.is_true[rest])


def figures_of(one: Truth, limit: float) -> Figures:
    found = one.scores >= limit
    both = float(np.count_nonzero(found & one.is_true))
    n, true = np.count_nonzero(found), np.count_nonzero(one.is_true)
    return Figures(both / n if n else np.nan, both / true if true else np.nan)


def mean(figures: list[Figures], name: str) -> float:
    """Return the mean of a figure, of those that have one: what finds nothing has no precision."""
    return float(np.nanmean([getattr(one, name) for one in figures]))


if __name__ == "__main__":
    main()
