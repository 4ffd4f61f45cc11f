"""manage.py tune_encoder: which faster precisions of the encoder agree with float32."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.table import Table
from rich.text import Text

from embeddings import proofs, tuning
from embeddings.encoders import processors
from embeddings.encoders.precisions import TOWERS
from embeddings.errors import EmbeddingsError, NotTuned
from embeddings.models import EncoderProof, Space
from gallery import spaces
from gallery.management.printing import console_for
from gallery.tuning import drawing

COLUMNS = ("tower", "precision", "cosine", "worst", "overlap@10", "recall@10", "ms")


class Command(BaseCommand):
    help = (
        "Compare the faster precisions of the encoder with float32 on images, captions and words "
        "of the gallery, drawn at random, and keep what is found: those that agree serve from then "
        "on. Exit status 1 when a tower could not be compared."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--space", type=int, metavar="ID", help="default: the active one")
        parser.add_argument("--tower", choices=TOWERS, help="default: both")
        parser.add_argument("--json", action="store_true", help="a JSON object a precision")

    def handle(self, *args: Any, **options: Any) -> None:
        space = _space(options["space"])
        towers = (options["tower"],) if options["tower"] else TOWERS
        try:
            sample = drawing.draw(space, towers=towers)
        except EmbeddingsError as error:
            raise CommandError(str(error)) from error
        found: list[EncoderProof] = []
        refusals: list[str] = []
        for tower in towers:
            try:
                for proof in tuning.tune(space, sample, towers=[tower]):
                    found.append(proof)
                    if options["json"]:
                        self.stdout.write(json.dumps(_as_json(proof)))
            except NotTuned as error:
                refusals.append(f"The {tower} tower was not compared. {error}")
            except EmbeddingsError as error:
                raise CommandError(str(error)) from error
        if found and not options["json"]:
            self._print(space, found)
        if refusals:
            raise CommandError(" ".join(refusals))

    def _print(self, space: Space, found: list[EncoderProof]) -> None:
        table = Table(title=Text(str(space)), box=None, title_justify="left", padding=(0, 1))
        for name in COLUMNS:
            table.add_column(name, justify="left" if name in COLUMNS[:2] else "right")
        for proof in found:
            table.add_row(*map(Text, _cells(proof)))
        console = console_for(self.stdout)
        with console.capture() as printed:
            console.print(table)
            console.print(Text("In brackets: float32."))
            for proof in found:
                judged = proofs.verdict(proof)
                console.print(Text(f"The {proof.tower} tower in {proof.precision}: {judged}."))
            chosen = proofs.choose(space.name, space.revision)
            console.print(Text(f"Texts are encoded in {chosen.text}, images in {chosen.image}"))
            console.print(Text(f"on {processors.describe()}."))
        self.stdout.write(printed.get(), ending="")


def _space(id_: int | None) -> Space:
    space = spaces.active() if id_ is None else Space.objects.filter(pk=id_).first()
    if space is None:
        raise CommandError("There is no active space yet." if id_ is None else f"No space {id_}.")
    if not space.is_prepared:
        raise CommandError(f"The encoder of {space} was not opened yet.")
    return space


def _cells(proof: EncoderProof) -> tuple[str, ...]:
    return (
        proof.tower,
        proof.precision,
        _figure(proof.cosine_mean, ".5f"),
        _figure(proof.cosine_min, ".5f"),
        _figure(proof.overlap, ".3f"),
        _pair(proof.recall, proof.recall_float32, ".3f"),
        _pair(proof.milliseconds, proof.milliseconds_float32, ".2f"),
    )


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _pair(value: float | None, in_float32: float | None, form: str) -> str:
    return "" if value is None else f"{_figure(value, form)} ({_figure(in_float32, form)})"


def _as_json(proof: EncoderProof) -> dict[str, Any]:
    names = (
        "tower", "precision", "processor", "versions", "images", "texts", "cosine_min",
        "cosine_mean", "overlap", "recall", "recall_float32", "milliseconds",
        "milliseconds_float32",
    )  # fmt: skip
    values = {name: getattr(proof, name) for name in names}
    return {"space": proof.space_id, **values, "judged": proofs.verdict(proof)}
