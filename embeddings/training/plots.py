"""How a training went, drawn. matplotlib is loaded when it is, and no display is needed."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embeddings.training.loop import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY, PALE = "#2563eb", "#ea580c", "#6b7280", "#e5e7eb"
FEW = 30  # steps
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

    figure = Figure(figsize=(11, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4, 6))
    for axes, title in ((left, "Loss"), (right, "Found among what was held out")):
        axes.set_title(title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=PALE)
        axes.set_axisbelow(True)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _draw_losses(left, losses)
    _draw_figures(right, rows, kept)
    figure.savefig(path)


def _draw_losses(axes: Axes, losses: Sequence[float]) -> None:
    steps = np.arange(1, len(losses) + 1)
    # Of very few steps lines alone would show little, or nothing.
    line = "o-" if len(losses) <= FEW else "-"
    axes.plot(steps, losses, line, color=BLUE, alpha=0.25, linewidth=0.8, markersize=4)
    axes.plot(steps, smoothed(losses), color=BLUE)
    axes.set_xlabel("step")


def _draw_figures(axes: Axes, rows: Sequence[Row], kept: float) -> None:
    epochs = [row["epoch"] for row in rows]
    axes.axvline(kept, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="kept")
    for name, colour in (("text to image", BLUE), ("image to text", ORANGE)):
        for k, line in LINE_BY_K.items():
            figures = [row[f"{name} R@{k}"] for row in rows]
            # Whole at the upper border, where good ones lie.
            axes.plot(epochs, figures, line, color=colour, label=f"{name}, R@{k}", clip_on=False)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("epoch")
    # Beside the lines: they may be anywhere.
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.02, 1))


def smoothed(losses: Sequence[float]) -> list[float]:
    """Each loss as a mean of those around it, of more of them the longer the training was."""
    reach = max(round(math.sqrt(len(losses)) / 2), 1)
    return [float(np.mean(losses[max(k - reach, 0) : k + reach + 1])) for k in range(len(losses))]
