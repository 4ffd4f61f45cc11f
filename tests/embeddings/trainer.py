"""A training in a process of its own, to be killed: see PROGRAM."""

from __future__ import annotations

import sys
from pathlib import Path

from embeddings.training import courses
from embeddings.training.architecture import Architecture
from embeddings.training.augmentation import Augmentation
from embeddings.training.examples import Room, Split
from embeddings.training.loop import Course, Training
from embeddings.training.options import Base, TrainingOptions
from tests.embeddings import colours

# To be run by `python -c`, with a folder as its argument.
PROGRAM = "from tests.embeddings import trainer; trainer.main()"
TINY = Architecture(side=32, patch=16, image_width=64, image_layers=1, text_width=64, text_layers=1)


def course(folder: Path, *, save_seconds: float = 1e9) -> Course:
    folder.mkdir(parents=True, exist_ok=True)
    options = TrainingOptions(
        epochs=20, batch_size=16, threads=1, patience=20, save_seconds=save_seconds
    )
    lessons = courses.Lessons(
        colours.examples(120), Split(share=0.2, seed=0), Augmentation(), Room(folder)
    )
    return courses.of_examples(lessons, Base(architecture=TINY), None, options)


def main() -> None:
    where = Path(sys.argv[1])
    for row in Training(course(where, save_seconds=0), where).epochs():
        sys.stdout.write(f"{row['epoch']}\n")
        sys.stdout.flush()
