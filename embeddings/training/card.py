"""The model card that lies beside a trained encoder's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embeddings.encoders.names import BUNDLED
from embeddings.training.loop import LOG
from embeddings.training.options import Base, Loss, Method, TrainingOptions

CARD, PLOT = "README.md", "training.png"

_SCENES = """\
Two small transformers (`CLIPModel`), trained from scratch on scenes that the package `scenes`
draws and describes. It understands drawn scenes in plain English (things, colours, counts,
sizes, places, light, drawing styles) and nothing else: for photographs choose another encoder.
Words it never learned become `[UNK]`. Images are squashed to a square, whatever their shape.
"""
_METHODS = {
    Method.SCRATCH: "Two small transformers (`CLIPModel`), trained from scratch",
    Method.WHOLE: "All weights of {encoder}, trained further",
    Method.LAST: "{encoder} with the last {last_layers} layers of each tower trained further",
    Method.LORA: "{encoder} with low-rank corrections (LoRA, rank {rank}) added to its attention,",
    Method.ADAPTER: "{encoder} with a matrix behind each tower, now part of its projections,",
}
_LOSSES = {
    Loss.CONTRASTIVE: "Symmetric contrastive loss (Radford et al. 2021)",
    Loss.SIGMOID: "Sigmoid loss (Zhai et al. 2023)",
}


@dataclass(frozen=True, kw_only=True)
class Card:
    title: str
    about: str
    command: str
    options: TrainingOptions
    figures: Sequence[tuple[str, ...]]  # a table, its first row the head
    base: str = ""  # name on the hub of what it was made from; empty: none

    def text(self) -> str:
        options = self.options
        chunk = f", {options.chunk_size} at once by a gradient cache" if options.chunk_size else ""
        parts = [
            self._front_matter(),
            f"# {self.title}\n\n{self.about}",
            f"    {self.command}\n",
            f"{_LOSSES[options.loss]}, batches of {options.batch_size}{chunk}, "
            f"{options.precision}, at most {options.epochs} epochs, seed {options.seed}, "
            f"on {options.device}.\n",
            table(self.figures) + "\n",
            f"[Every epoch]({LOG}), drawn:\n\n![Loss by step, what is found by epoch]({PLOT})\n",
        ]
        return "\n".join(part for part in parts if part)

    def write(self, folder: Path) -> None:
        (folder / CARD).write_text(self.text(), encoding="utf-8")

    def _front_matter(self) -> str:
        if not self.base:
            return ""
        return f"---\nlibrary_name: transformers\nbase_model: {self.base}\n---\n"


@dataclass(frozen=True, kw_only=True)
class Material:
    """How much of what was learnt from."""

    source: str
    images: int
    captions: int
    held_out: int  # images
    is_best_kept: bool  # of all epochs, by what was held out


def of_scenes(command: str, options: TrainingOptions, rows: Iterable[tuple[str, str]]) -> Card:
    """The card of an encoder from scratch, with its figures on scenes it never saw."""
    return Card(
        title="A small CLIP for drawn scenes",
        about=_SCENES,
        command=command,
        options=options,
        figures=[("measured on unseen scenes", ""), *rows],
    )


def of_examples(
    about: str,
    command: str,
    options: TrainingOptions,
    base: Base,
    rows: tuple[Mapping[str, float], Mapping[str, float]],
) -> Card:
    """The card of what was learnt from captions, with its figures before and after."""
    before, after = rows
    figures = [
        (name, f"{before[name]:.3f}", f"{after[name]:.3f}") for name in after if " R@" in name
    ]
    if base.encoder and not after["epoch"]:
        about += "\nNothing was found better than before: these are the weights of the base.\n"
    is_on_hub = "/" in base.encoder and not is_folder(base.encoder)
    return Card(
        title="An encoder for images and texts",
        about=about,
        command=command,
        options=options,
        figures=[("of what was held out", "before", "after"), *figures],
        base=base.encoder if is_on_hub else "",
    )


def about_examples(base: Base, material: Material) -> str:
    """What was done to which base, with what. Names no folder of the machine."""
    # A folder is named by its last part: the rest is nobody's business.
    encoder = Path(base.encoder).name if is_folder(base.encoder) else base.encoder
    done = _METHODS[base.method].format(
        encoder=f"`{encoder}`", last_layers=base.last_layers, rank=base.rank
    )
    chosen = ", by which the best epoch was chosen" if material.is_best_kept else ""
    return (
        f"{done} on {material.images:,} images with {material.captions:,} captions of "
        f"{material.source}. The figures are of {material.held_out:,} images that were held "
        f"out{chosen}.\n"
    )


def is_folder(encoder: str) -> bool:
    """Whether a base is a folder of this machine, and no name that others know."""
    return encoder != BUNDLED and Path(encoder).expanduser().exists()


def table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
