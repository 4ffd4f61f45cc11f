"""The model card that lies beside a trained encoder's weights."""

from __future__ import annotations

from pathlib import Path

from embeddings.training.evaluation import Figures
from embeddings.training.loop import TrainingOptions

CARD = """\
# A small CLIP for drawn scenes

Two small transformers (`CLIPModel`), trained from scratch on scenes that the package `scenes`
draws and describes. It understands drawn scenes in plain English (things, colours, counts,
sizes, places, light, drawing styles) and nothing else: for photographs choose another encoder.
Words it never learned become `[UNK]`.

    manage.py train --output DIR --scenes {scenes} --passes {passes} --seed {seed} \\
        --batch-size {batch_size} --threads {threads}

Images are squashed to {side} x {side} pixels, whatever their shape; vectors have {dimensions}
dimensions. A precision is the mean over all queries that have at least ten relevant scenes.

| measured on unseen scenes | |
| --- | --- |
{rows}
"""


def write_card(folder: Path, options: TrainingOptions, figures: Figures) -> None:
    rows = "\n".join(f"| {name} | {figure} |" for name, figure in figures.rows())
    card = CARD.format(
        scenes=options.scenes,
        passes=options.passes,
        seed=options.seed,
        batch_size=options.batch_size,
        threads=options.threads,
        side=options.architecture.side,
        dimensions=options.architecture.dimensions,
        rows=rows,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
