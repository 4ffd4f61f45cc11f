"""How a training went, drawn. matplotlib is loaded when it is, and no display is needed."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embeddings.training.loop import Row

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#6b7280"
LINE_BY_K = {"1": "-", "5": "--", "10": ":"}


def draw(
    losses: Sequence[float], rows: Sequence[Row], path: Path, *, kept: float, cache: Path
) -> None:
    """Write the loss by step, and what is found of the held-out images by epoch, as a PNG.

    `kept`: the epoch whose weights are; `cache`: where matplotlib keeps what it knows of fonts.
    """
    # It keeps a cache of fonts, in the home folder unless told: a server may have none.
    os.environ.setdefault("MPLCONFIGDIR", str(cache))
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of each font at INFO
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e5e7eb")
        axes.set_axisbelow(True)
        axes.xaxis.get_major_locator().set_params(integer=True)
    steps = np.arange(1, len(losses) + 1)
    left.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=0.8)
    left.plot(steps, smoothed(losses), color=BLUE)
    left.set_xlabel("step")
    left.set_ylabel("loss")
    left.set_title("What is learnt from")
    epochs = [row["epoch"] for row in rows]
    for name, colour in (("text to image", BLUE), ("image to text", ORANGE)):
        for k, line in LINE_BY_K.items():
            figures = [row[f"{name} R@{k}"] for row in rows]
            right.plot(epochs, figures, line, color=colour, label=f"{name}, R@{k}")
    right.axvline(kept, color=GREY, linewidth=0.8, label="kept")
    right.set_ylim(0, 1.02)
    right.set_xlabel("epoch")
    right.set_ylabel("share found")
    right.set_title("What was held out")
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Each loss as a mean of those around it, of more of them the longer the training was."""
    reach = max(round(math.sqrt(len(losses)) / 2), 1)
    return [float(np.mean(losses[max(k - reach, 0) : k + reach + 1])) for k in range(len(losses))]
