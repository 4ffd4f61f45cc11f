"""Train an encoder: on drawn scenes, on the library's captions, or on those of a source."""

from __future__ import annotations

import math
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from embeddings.encoders import sources
from embeddings.encoders.huggingface import TorchEncoder
from embeddings.encoders.sources import Source
from embeddings.errors import EmbeddingsError
from embeddings.training import card, courses
from embeddings.training.augmentation import Augmentation
from embeddings.training.card import Card, Material
from embeddings.training.courses import Lessons
from embeddings.training.drawn import DrawnOptions, drawn_examples
from embeddings.training.evaluation import Figures, evaluate
from embeddings.training.examples import Listed, Room, Split
from embeddings.training.loop import Course, Training
from embeddings.training.options import Base, Method, TrainingOptions
from embeddings.training.pairs import PairData
from embeddings.training.publication import publish
from embeddings.training.run import Run
from gallery import training
from gallery.errors import GalleryError
from gallery.importers import SourceUnreadable
from gallery.importers.registry import SOURCES, load
from gallery.management import source_arguments, training_arguments
from gallery.management.imports import INTERRUPTED
from gallery.management.viewers import viewer

SCENES, LIBRARY = "scenes", "library"
# The others have no captions, never end, or name what would have to be downloaded first.
KINDS = ("folder", "archive", "table", "coco", "openimages", "s3")
SHOWN = ("loss", *(f"{way} R@{k}" for way in ("text to image", "image to text") for k in (1, 10)))


class Command(BaseCommand):
    help = (
        "Train an encoder and measure it on images that were held out. A training that was broken "
        "off is gone on with by the same command."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        kinds = parser.add_subparsers(dest="kind", metavar="SOURCE", required=True)
        scenes = kinds.add_parser(SCENES, help="scenes that are drawn for it")
        scenes.add_argument(
            "--scenes",
            type=training_arguments.above(1),
            default=DrawnOptions.scenes,
            help="how many",
        )
        scenes.add_argument(
            "--unseen", type=training_arguments.above(0), default=1000, metavar="N",
            help="scenes it is measured on in the end (default: 1000)",
        )  # fmt: skip
        scenes.add_argument(
            "--evaluate", metavar="ENCODER", help="train nothing, measure this encoder"
        )
        training_arguments.add(scenes)
        library = kinds.add_parser(LIBRARY, help="images of the gallery that have captions")
        library.add_argument(
            "--as", dest="username", metavar="USER",
            help="what this user may see (default: what the first superuser may)",
        )  # fmt: skip
        training_arguments.add(library)
        for kind in KINDS:
            summary = (SOURCES[kind].__doc__ or "").strip().partition("\n")[0]
            of_kind = kinds.add_parser(kind, help=summary, allow_abbrev=False)
            source_arguments.add(of_kind, SOURCES[kind])
            training_arguments.add(of_kind)

    def handle(self, *args: Any, **said: Any) -> None:
        try:
            if said.get("evaluate"):
                self._print(_measured(said["evaluate"], said["unseen"]))
            elif said["output"] is None:
                raise CommandError("Say where the encoder is to be: --output DIR.")
            else:
                self._train(said)
        except (EmbeddingsError, GalleryError, SourceUnreadable) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename or 'A file'}: {error.strerror}.") from error
        except KeyboardInterrupt as error:
            raise CommandError(
                "Stopped. The same command goes on from here.", returncode=INTERRUPTED
            ) from error

    def _train(self, said: dict[str, Any]) -> None:
        base = training_arguments.base(said)
        is_drawn = said["kind"] == SCENES and not base.encoder
        options = training_arguments.options(base.method, said, is_drawn=is_drawn)
        run = Run(said["output"].resolve())
        source = sources.find(base.encoder) if base.encoder else None
        fixed = {
            **asdict(options),
            **asdict(base),
            **training_arguments.about_data(said),
            "revision": source.revision if source else "",
        }
        with run.held(fixed, restart=said["restart"]) as goes_on:
            if goes_on:
                self.stdout.write(f"Going on with {run.folder}.")
            course = _course(said, base, source, options, run.folder)
            under_way = Training(course, run.folder)
            for row in under_way.epochs():
                when = f"epoch {row['epoch']}" if row["epoch"] else "before"
                shown = (f"{name} {row[name]:.3f}" for name in SHOWN if not math.isnan(row[name]))
                self.stdout.write(f"{when}: {', '.join(shown)}")
            if base.encoder and not under_way.kept["epoch"]:
                self.stdout.write("Nothing was found better than before: what is kept is the base.")
            make_card = partial(self._card, under_way, course, base, said)
            publish(run, course, under_way, make_card, fonts=settings.DATA_DIR / "matplotlib")
        self.stdout.write(f"The encoder is there: ENCODER={run.output}")

    def _card(
        self, under_way: Training, course: Course, base: Base, said: Mapping[str, Any], folder: Path
    ) -> Card:
        command = training_arguments.in_words(said, base, course.options)
        if not isinstance(course.data, PairData):
            figures = _measured(str(folder), said["unseen"])
            self._print(figures)
            return card.of_scenes(command, course.options, figures.rows())
        part = course.data.part
        material = Material(
            source=f"the source “{said['kind']}”",
            images=len(part),
            captions=sum(map(len, part.captions)),
            held_out=len(course.held_out.images),
            is_best_kept=bool(course.options.patience),
        )
        about = card.about_examples(base, material)
        rows = (under_way.standing.rows[0], under_way.kept)
        return card.of_examples(about, command, course.options, base, rows)

    def _print(self, figures: Figures) -> None:
        for name, figure in figures.rows():
            self.stdout.write(f"{name}: {figure}")


def _course(
    said: Mapping[str, Any],
    base: Base,
    source: Source | None,
    options: TrainingOptions,
    folder: Path,
) -> Course:
    if said["kind"] == SCENES and source is None:
        return courses.of_scenes(DrawnOptions(scenes=said["scenes"]), options)
    lessons = Lessons(
        _examples(said, base, source, options),
        Split(share=said["held_out"], seed=options.seed),
        Augmentation(smallest_area=said["smallest_area"], is_mirrored=said["mirror"]),
        Room(folder, settings.UPLOAD_FREE_BYTES),
    )
    return courses.of_examples(lessons, base, source, options)


def _examples(
    said: Mapping[str, Any], base: Base, source: Source | None, options: TrainingOptions
) -> Iterable[Listed]:
    kind = said["kind"]
    if kind == SCENES:
        return drawn_examples(said["scenes"], seed=options.seed)
    if kind == LIBRARY:
        knows_vectors = base.method is Method.ADAPTER
        return training.of_library(viewer(said["username"]), source if knows_vectors else None)
    return training.of_source(load(kind, source_arguments.read(SOURCES[kind], said)))


def _measured(name: str, scene_count: int) -> Figures:
    # In float32, whatever the machine would serve it with.
    encoder = TorchEncoder(sources.find(name), device="auto", precision="float32")
    return evaluate(encoder, scene_count=scene_count)
