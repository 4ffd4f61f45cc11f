"""An evaluation for people: tables in Markdown, with the plots beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from django.utils import timezone

from gallery.evaluation import SHOWN, Evaluation, plots
from gallery.evaluation.judgements import Judgements
from gallery.evaluation.quality import Measures

REPORT, RECALL_LATENCY, RANKS = "report.md", "recall-latency.png", "ranks.png"

Row = tuple[str, ...]


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write the report and its plots into a folder, which is made. Raise OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.draw_recall_latency(evaluation, folder / RECALL_LATENCY)
    plots.draw_ranks(evaluation, folder / RANKS)
    (folder / REPORT).write_text("\n".join(_lines(evaluation)) + "\n", encoding="utf-8")


def quality_rows(evaluation: Evaluation) -> list[Row]:
    """Return the measures, a column a direction; the first row is the head."""
    directions = {"text to image": evaluation.text_to_image}
    if evaluation.image_to_text is not None:
        directions["image to text"] = evaluation.image_to_text
    columns = [_column(figures) for figures in directions.values()]
    names = columns[0].keys()
    return [
        ("measure", *directions),
        *((name, *(column[name] for column in columns)) for name in names),
    ]


def route_rows(evaluation: Evaluation) -> list[Row]:
    """Return recall and latency by filter and route; the first row is the head."""
    measured = evaluation.performance
    head = (
        "filter", "route", "queries", f"recall@{measured.k}", "p50 ms", "p95 ms",
        "p50 ms with encoding", "p95 ms with encoding", "p50 ms exact",
    )  # fmt: skip
    return [
        head,
        *(
            (
                figures.filter,
                figures.route,
                str(figures.queries),
                f"{figures.recall_at_k:.3f}" + (" (exact)" if figures.exact else ""),
                f"{figures.p50_ms:.2f}",
                f"{figures.p95_ms:.2f}",
                f"{figures.p50_ms_uncached:.2f}",
                f"{figures.p95_ms_uncached:.2f}",
                f"{figures.p50_ms_exact:.2f}",
            )
            for figures in measured.routes
        ),
    ]


def remarks(judgements: Judgements) -> Iterator[str]:
    """Yield what of a file could not be used, the first of each kind."""
    for bad in judgements.bad_lines[:SHOWN]:
        yield f"Line {bad.line}: {bad.reason}"
    if len(judgements.bad_lines) > SHOWN:
        yield f"... and {len(judgements.bad_lines) - SHOWN:,} further lines."
    yield from _named("no image that may be seen", judgements.unknown)
    yield from _named("the name of several images; give their ids", judgements.ambiguous)
    if judgements.not_embedded:
        yield f"{judgements.not_embedded:,} relevant images have no vector: left out."


def _named(what: str, names: tuple[str, ...]) -> Iterator[str]:
    if names:
        shown = ", ".join(name[:100] for name in names[:SHOWN])
        more = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        yield f"{len(names):,} of the names: {what}: {shown}{more}."


def _column(figures: Measures) -> dict[str, str]:
    low, high = figures.recall_at_10_interval
    median = "none" if figures.median_rank is None else f"{figures.median_rank:,.0f}"
    return {
        "queries": f"{figures.queries:,}",
        "candidates": f"{figures.candidates:,}",
        "Recall@1": f"{figures.recall_at_1:.3f}",
        "Recall@5": f"{figures.recall_at_5:.3f}",
        "Recall@10": f"{figures.recall_at_10:.3f}",
        "Recall@10, 95 % interval": f"{low:.3f} to {high:.3f}",
        "Top-1": f"{figures.top_1:.3f}",
        "Top-5": f"{figures.top_5:.3f}",
        "MRR": f"{figures.mrr:.3f}",
        "nDCG@10": f"{figures.ndcg_at_10:.3f}",
        "median rank": median,
    }


def _lines(evaluation: Evaluation) -> Iterator[str]:
    given, measured = evaluation.judgements, evaluation.performance
    yield f"# Evaluation of {evaluation.encoder}\n"
    yield (
        f"{timezone.now():%Y-%m-%d %H:%M} UTC, {evaluation.mode} mode, as "
        f"{evaluation.viewer}, seed {evaluation.seed}. Judgements: {given.source}, "
        f"{len(given.queries):,} of {given.in_all:,} queries.\n"
    )
    for notice in evaluation.notices:
        yield f"> {notice}\n"
    yield "## What is found\n"
    yield from _table(quality_rows(evaluation))
    yield f"\n![Rank of the first that is relevant]({RANKS})\n"
    yield "## How fast, and how much of the truth\n"
    yield (
        f"Index: {measured.index}, {measured.vectors:,} vectors. It finds "
        f"{measured.recall_at_k:.1%} of the true {measured.k} nearest. Encoding a text takes "
        f"{measured.encode_p50_ms:.1f} ms (p50), {measured.encode_p95_ms:.1f} ms (p95). "
        f"{measured.queries:,} queries, one after the other; “exact” is Postgres alone.\n"
    )
    yield from _table(route_rows(evaluation))
    yield f"\n![Recall against latency]({RECALL_LATENCY})\n"
    found = list(remarks(given))
    if found:
        yield "## What could not be used\n"
        yield from (f"- {_plain(remark)}" for remark in found)


def _table(rows: Iterable[Row]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield "| " + " | ".join(map(_plain, row)) + " |"
        if number == 0:
            yield "| --- |" + " ---: |" * (len(row) - 1)


def _plain(text: str) -> str:
    """Return a text that a person wrote so that nothing in it is read as Markdown or HTML."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in text)
