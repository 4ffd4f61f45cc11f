"""Train an encoder on drawn scenes, or measure one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from embeddings.encoders import sources
from embeddings.encoders.huggingface import TorchEncoder
from embeddings.errors import EncoderUnavailable
from embeddings.training.card import write_card
from embeddings.training.evaluation import Figures, evaluate
from embeddings.training.loop import TrainingOptions, train


class Command(BaseCommand):
    help = "Train an encoder from scratch on drawn scenes and measure it on scenes never seen."

    def add_arguments(self, parser: CommandParser) -> None:
        defaults = TrainingOptions()
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--output", type=Path, help="folder for the trained encoder")
        what.add_argument("--evaluate", type=Path, metavar="DIR", help="only measure this encoder")
        parser.add_argument("--scenes", type=int, default=defaults.scenes)
        parser.add_argument("--passes", type=int, default=defaults.passes)
        parser.add_argument("--seed", type=int, default=defaults.seed)
        parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
        parser.add_argument("--threads", type=int, default=defaults.threads)

    def handle(self, *args: Any, **arguments: Any) -> None:
        if arguments["evaluate"] is not None:
            self._print(self._measure(arguments["evaluate"]))
            return
        options = TrainingOptions(
            scenes=arguments["scenes"],
            passes=arguments["passes"],
            seed=arguments["seed"],
            batch_size=arguments["batch_size"],
            threads=arguments["threads"],
        )
        output: Path = arguments["output"]
        for number, loss in enumerate(train(options, output), start=1):
            self.stdout.write(f"pass {number}: mean loss {loss:.3f}")
        figures = self._measure(output)
        write_card(output, options, figures)
        self._print(figures)

    def _measure(self, folder: Path) -> Figures:
        try:
            source = sources.find(str(folder.resolve()))
            return evaluate(TorchEncoder(source, device="auto", precision="float32"))
        except EncoderUnavailable as error:
            raise CommandError(str(error)) from error

    def _print(self, figures: Figures) -> None:
        for name, figure in figures.rows():
            self.stdout.write(f"{name}: {figure}")
