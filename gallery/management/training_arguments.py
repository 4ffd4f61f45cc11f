"""Arguments of `manage.py train`: how a training goes, with defaults as its method wants them."""

from __future__ import annotations

import argparse
import os
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from embeddings.encoders.huggingface import choose_device
from embeddings.errors import EncoderUnavailable
from embeddings.training.augmentation import Augmentation
from embeddings.training.card import is_folder
from embeddings.training.options import Base, Loss, Method, TrainingOptions

# An adapter sees vectors, not pixels: many epochs cost it nothing.
DEFAULTS = {
    Method.SCRATCH: TrainingOptions(),
    Method.WHOLE: TrainingOptions(epochs=10, patience=3),
    Method.LAST: TrainingOptions(epochs=10, patience=3),
    Method.LORA: TrainingOptions(epochs=10, patience=3),
    Method.ADAPTER: TrainingOptions(epochs=50, batch_size=128, patience=5, precision="float32"),
}


HELD_OUT = 0.1  # of the images
# What else shapes the result, with defaults.
_SHAPING = {
    "held_out": HELD_OUT,
    "smallest_area": Augmentation.smallest_area,
    "mirror": Augmentation.is_mirrored,
    "last_layers": Base.last_layers,
    "rank": Base.rank,
}
_OF_IMAGES = {"smallest_area", "mirror"}
_IDLE = {  # what a method does not look at
    Method.SCRATCH: {"last_layers", "rank"},
    Method.WHOLE: {"last_layers", "rank"},
    Method.LAST: {"rank"},
    Method.LORA: {"last_layers"},
    Method.ADAPTER: {"last_layers", "rank", *_OF_IMAGES},
}
_ABOUT_DATA = frozenset({"kind", "scenes", "username", "held_out", "smallest_area", "mirror"})
_NEVER_SAID = frozenset({"save_seconds"})  # nothing comes of it
_ALWAYS_SAID = frozenset({"epochs", "seed", "batch_size", "threads"})


def add(parser: ArgumentParser) -> None:
    """Add what every training may be told."""
    group = parser.add_argument_group("for every source")
    group.add_argument("--output", type=Path, metavar="DIR", help="folder for the trained encoder")
    group.add_argument(
        "--base", metavar="ENCODER", default="",
        help="what is trained further: bundled, a folder or a name on the hub; empty: from scratch",
    )  # fmt: skip
    group.add_argument(
        "--method", choices=list(Method), type=Method, help="default: adapter, or scratch"
    )
    group.add_argument("--loss", choices=list(Loss), type=Loss, default=Loss.CONTRASTIVE)
    group.add_argument("--epochs", type=above(0), help="at most so many")
    group.add_argument("--batch-size", type=above(1), help="images that are told apart at once")
    group.add_argument(
        "--chunk-size", type=above(0), help="of a batch, how many fit into memory (gradient cache)"
    )
    group.add_argument("--learning-rate", type=_positive, help="highest; default: by method")
    group.add_argument("--warm-up", type=_share, metavar="SHARE", help="of the steps")
    group.add_argument("--precision", choices=("bfloat16", "float32"))
    group.add_argument(
        "--patience", type=above(-1), metavar="EPOCHS",
        help="without a better one before it ends, and the best is kept; 0: never, and the last is",
    )  # fmt: skip
    group.add_argument("--seed", type=above(-1), help="of all that is drawn by lot")
    group.add_argument("--threads", type=above(0))
    group.add_argument("--device", default="auto", help="auto, cpu, cuda; default: auto")
    group.add_argument("--save-seconds", type=_positive, help="between savings within an epoch")
    group.add_argument("--last-layers", type=above(0), default=Base.last_layers, help="of a tower")
    group.add_argument("--rank", type=above(0), default=Base.rank, help="of LoRA")
    group.add_argument(
        "--held-out", type=_share, default=HELD_OUT, metavar="SHARE",
        help="of the images, to measure on",
    )  # fmt: skip
    group.add_argument(
        "--smallest-area", type=_share, default=Augmentation.smallest_area, metavar="SHARE",
        help="of an image that is cut from it at random; 1: all",
    )  # fmt: skip
    group.add_argument(
        "--mirror", action="store_true", help="now and then; not where texts say left and right"
    )
    group.add_argument("--restart", action="store_true", help="begin anew where one was broken off")


def base(said: Mapping[str, Any]) -> Base:
    """Return what is trained. Raise CommandError where method, base and options do not fit."""
    encoder: str = said["base"]
    method = said["method"] or (Method.ADAPTER if encoder else Method.SCRATCH)
    if (method is Method.SCRATCH) == bool(encoder):
        raise CommandError(
            "From scratch there is no --base." if encoder else f"--method {method} needs a --base."
        )
    # Scenes that are drawn from scratch are held out and altered in a way of their own.
    is_drawn = said["kind"] == "scenes" and not encoder
    for name in sorted(_IDLE[method] | ({"held_out", *_OF_IMAGES} if is_drawn else set())):
        if said[name] != _SHAPING[name]:
            raise CommandError(f"{_option(name)} would change nothing about such a training.")
    return Base(method=method, encoder=encoder, last_layers=said["last_layers"], rank=said["rank"])


def options(method: Method, said: Mapping[str, Any], *, is_drawn: bool) -> TrainingOptions:
    """Return what was said, and what suits the method for the rest. Raise CommandError."""
    try:
        device = choose_device(said["device"])
    except EncoderUnavailable as error:
        raise CommandError(f"--device {said['device']} is not here.") from error
    threads = TrainingOptions.threads if is_drawn else os.cpu_count() or 1
    named = {
        field.name: said[field.name]
        for field in fields(TrainingOptions)
        if said.get(field.name) is not None
    }
    return replace(
        DEFAULTS[method],
        **{"threads": threads, **named, "device": device},
    )


def about_data(said: Mapping[str, Any]) -> dict[str, str]:
    """Return what a training that goes on must not be told otherwise, beside its options."""
    return {
        name: str(value)
        for name, value in said.items()
        if name in _ABOUT_DATA or name.startswith("source_")
    }


def in_words(said: Mapping[str, Any], base: Base, options: TrainingOptions) -> str:
    """Return the command as a model card tells it: without the folders of this machine."""
    words = ["manage.py train", said["kind"], "--output DIR"]
    if base.encoder:
        # A name on the hub, or the bundled one.
        is_public = not is_folder(base.encoder)
        words.append(f"--base {base.encoder if is_public else 'BASE'} --method {base.method}")
    if "scenes" in said:
        words.append(f"--scenes {said['scenes']}")
    usual = DEFAULTS[base.method]
    for field in fields(TrainingOptions):
        value = getattr(options, field.name)
        is_usual = value == getattr(usual, field.name) or field.name in _NEVER_SAID
        if field.name in _ALWAYS_SAID or not is_usual:
            words.append(f"{_option(field.name)} {value}")
    shaped = {name: said[name] for name in _SHAPING if said[name] != _SHAPING[name]}
    words += [f"{_option(name)} {value}" for name, value in shaped.items() if value is not True]
    return " ".join([*words, *(_option(name) for name, value in shaped.items() if value is True)])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def above(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or int(text) <= least:
            raise argparse.ArgumentTypeError(f"it must be a whole number above {least}")
        return int(text)

    return whole


def _share(text: str) -> float:
    share = _number(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("it must be above 0, and 1 at most")
    return share


def _positive(text: str) -> float:
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("it must be above 0")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("it must be a number") from error
