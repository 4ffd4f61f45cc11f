"""From a file's upload to its first appearance in a search, through the API and a real worker."""

from __future__ import annotations

import http.client
import io
import json
import sys
import time
import uuid
from pathlib import Path

import numpy as np
from PIL import Image as Pixels

from bench import _report as report
from bench import _servers
from bench._report import Row

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
        visitor = Visitor(address, token)
        first = visitor.upload(picture(0))
        visitor.wait_for_any(first)
        seconds = [visitor.seconds_until_found(picture(i), like=first) for i in range(1, n + 1)]
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


class Visitor:
    """Talks to the API as a program does."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"}

    def upload(self, file: bytes) -> str:
        """Return the id of the stored image."""
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + file + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, answer = self._ask("POST", "/api/v1/images", body, kind)
        if status != 201:
            sys.exit(f"An upload was answered {status}: {answer!r}")
        return str(json.loads(answer)[0]["id"])

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
        status, answer = self._ask("GET", f"/api/v1/search?similar_to={image}&k=100&band=unlikely")
        if status != 200:
            return None
        return [hit["id"] for hit in json.loads(answer)["hits"]]

    def _check(self, ends: float) -> None:
        if time.monotonic() > ends:
            sys.exit("A new image was not found in time.")
        time.sleep(POLL_SECONDS)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            connection.request(method, path, body, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
