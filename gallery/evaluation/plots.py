"""The two plots of a report. matplotlib is loaded when one is drawn, and no display is needed."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from gallery.evaluation import IMAGE_TO_TEXT, TEXT_TO_IMAGE, Evaluation, histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gallery.evaluation.performance import SweepPoint

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#6b7280"
TITLES = {TEXT_TO_IMAGE: "text to image", IMAGE_TO_TEXT: "image to text"}


def draw_recall_latency(evaluation: Evaluation, path: Path) -> None:
    """Write recall against latency as a PNG: of the live index by k, of its snapshot by effort."""
    figure, axes = _figure()
    sweep = evaluation.performance.sweep
    live = [point for point in sweep if point.source == "live"]
    built = [point for point in sweep if point.source == "snapshot"]
    _draw_line(axes, live, [f"k={point.k}" for point in live], "live index, by k", BLUE)
    efforts = [f"{point.effort:g}" for point in built]
    _draw_line(axes, built, efforts, "snapshot when built, recall@10 by effort", ORANGE)
    for point in (point for point in sweep if point.source == "exact"):
        label = f"exact search in Postgres, k={point.k}"
        axes.plot([point.ms], [point.recall], "D", color=GREY, label=label)
    axes.set_xscale("log")
    # Whole powers of ten at both ends: a narrow log scale has ticks that nobody can read.
    milliseconds = [point.ms for point in sweep]
    axes.set_xlim(
        _power_below(0.8 * min(milliseconds)), 10 * _power_below(1.25 * max(milliseconds))
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    lowest = min(0.95, *(point.recall for point in sweep))
    margin = 0.1 * (1 - lowest)
    axes.set_ylim(max(0.0, lowest - margin), 1 + margin / 2)
    axes.set_xlabel("median latency of a query, vector at hand (milliseconds, log scale)")
    axes.set_ylabel("recall@k against exact search")
    axes.set_title(f"Recall against latency, {evaluation.performance.vectors:,} vectors")
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path)


def draw_ranks(evaluation: Evaluation, path: Path) -> None:
    """Write where the first relevant one stands, as a PNG: shares of the queries by rank."""
    figure, axes = _figure()
    width = 0.8 / len(evaluation.first_ranks)
    for place, (direction, ranks) in enumerate(evaluation.first_ranks.items()):
        bars = histogram(ranks)
        left = [row - 0.4 + width * (place + 0.5) for row in range(len(bars))]
        percents = [100 * share for _, share in bars]
        label = f"{TITLES[direction]} ({len(ranks):,} queries)"
        drawn = axes.bar(left, percents, width * 0.95, color=(BLUE, ORANGE)[place], label=label)
        shown = [f"{percent:.3g}" if percent else "" for percent in percents]
        axes.bar_label(drawn, shown, padding=2, fontsize=8, color=GREY)
        axes.set_xticks(range(len(bars)), [name for name, _ in bars])
    axes.set_ylim(0, 108)
    axes.set_xlabel("rank of the first that is relevant")
    axes.set_ylabel("share of the queries (%)")
    axes.set_title(f"Where what was meant is found, {evaluation.encoder}")
    axes.legend(loc="upper right", frameon=False)
    figure.savefig(path)


def _draw_line(
    axes: Axes, points: list[SweepPoint], names: list[str], label: str, colour: str
) -> None:
    if not points:
        return
    xs, ys = [point.ms for point in points], [point.recall for point in points]
    axes.plot(xs, ys, "o-", color=colour, label=label)
    # Above and below in turn: neighbours lie close together.
    for place, (x, y, name) in enumerate(zip(xs, ys, names, strict=True)):
        offset = (0, 6 if place % 2 else -13)
        axes.annotate(
            name, (x, y), offset, textcoords="offset points", ha="center", fontsize=8, color=colour
        )


def _power_below(milliseconds: float) -> float:
    return float(10 ** math.floor(math.log10(max(milliseconds, 1e-3))))


def _figure() -> tuple[Figure, Axes]:
    # It keeps a cache of fonts, in the home folder unless told: a server may have none.
    os.environ.setdefault("MPLCONFIGDIR", str(settings.DATA_DIR / "matplotlib"))
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of each font at INFO
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
    return figure, axes
