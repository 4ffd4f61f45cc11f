"""Make the first admin; bin/start does this through `prepare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gallery import first_admin


class Command(BaseCommand):
    help = "Make a superuser with a random password and an API token, if there is none yet."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--file", type=Path, required=True, help="file for username, password and token"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        try:
            is_made = first_admin.ensure(file)
        except first_admin.AdminNotMade as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Made the superuser {first_admin.USERNAME}; its password is in {file}."
            if is_made
            else "There is a superuser already; nothing was changed."
        )
