"""From a file's upload to its first appearance in a search, through the API and a real worker."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image as Pixels

from bench import _report as report
from bench import _servers
from bench._report import Row
from bench._visitor import SEARCH, Visitor

MOST_SECONDS = 2.0
PATIENCE = 60.0  # seconds
POLL_SECONDS = 0.02


def rows(address: str, folder: Path, n: int) -> list[Row]:
    """Upload n images one after another, each looked for among the likes of the first one."""
    from django.contrib.auth.models import User

    from gallery.models import ApiToken

    report.tell("new images")
    token = ApiToken.issue(User.objects.get(username="bench"), "bench")
    log = folder / "logs" / "worker.log"
    with _servers.running(_servers.our_worker(folder), log):
        uploader = Uploader(address, token)
        first = uploader.upload(picture(0))
        uploader.wait_for_any(first)
        seconds = [uploader.seconds_until_found(picture(i), like=first) for i in range(1, n + 1)]
    middle, p95 = (float(np.percentile(seconds, share)) for share in (50, 95))
    what = f"new image to searchable, p95 of {n} (median {middle:.2f} s)"
    return [report.at_most(what, p95, MOST_SECONDS, "s")]


def picture(seed: int) -> bytes:
    """Return a JPEG of 640 x 480, much like that of any other seed and yet another image."""
    pixels = np.random.default_rng(0).integers(256, size=(12, 16, 3), dtype=np.uint8)
    pixels[0, 0] = np.random.default_rng(seed).integers(256, size=3)
    file = io.BytesIO()
    image = Pixels.fromarray(pixels).resize((640, 480), Pixels.Resampling.BICUBIC)
    image.save(file, "JPEG", comment=str(seed).encode())
    return file.getvalue()


class Uploader(Visitor):
    """Looks for what it has sent."""

    def wait_for_any(self, image: str) -> None:
        """Return when the image can be searched with: the worker that embeds it starts, too."""
        ends = time.monotonic() + _servers.START_SECONDS
        while self.like(image) is None:
            self._check(ends)

    def seconds_until_found(self, file: bytes, *, like: str) -> float:
        started = time.perf_counter()
        new = self.upload(file)
        ends = time.monotonic() + PATIENCE
        while new not in (self.like(like) or ()):
            self._check(ends)
        return time.perf_counter() - started

    def like(self, image: str) -> list[str] | None:
        """Return the ids most like an image; None while it has no vector."""
        status, answer = self.ask("GET", f"{SEARCH}?similar_to={image}&k=100&band=unlikely")
        if status != 200:
            return None
        return [hit["id"] for hit in json.loads(answer)["hits"]]

    def _check(self, ends: float) -> None:
        if time.monotonic() > ends:
            sys.exit("A new image was not found in time.")
        time.sleep(POLL_SECONDS)
