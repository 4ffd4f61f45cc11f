"""Embed what was given up: `manage.py retry_embedding`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from gallery import pipeline, tasks


class Command(BaseCommand):
    help = (
        "Try again all images and captions whose embedding has failed, when what they failed of "
        "is mended: a disk, rights, keys, an encoder."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        retried = pipeline.retry_parked()
        tasks.wake()
        self.stdout.write(f"{retried:,} are tried again; the worker does it.")
