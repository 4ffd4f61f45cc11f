"""What lies in the folder of a trained encoder: weights, log, plot and model card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embeddings.training import plots, state
from embeddings.training.card import PLOT, Card
from embeddings.training.loop import LOG, Course, Training, table
from embeddings.training.run import Run

MakeCard = Callable[[Path], Card]  # of the folder, in which all else lies already


def publish(
    run: Run, course: Course, training: Training, make_card: MakeCard, *, fonts: Path
) -> None:
    """Let the output of a run be there, whole. `fonts`: where matplotlib keeps what it found."""

    def fill(folder: Path) -> None:
        course.learner.checkpoint().save(folder)
        rows = training.standing.rows
        state.replace(folder / LOG, table(rows).encode())
        kept = training.kept["epoch"]
        plots.draw(training.losses, rows, folder / PLOT, kept=kept, cache=fonts)
        make_card(folder).write(folder)

    run.publish(fill)
