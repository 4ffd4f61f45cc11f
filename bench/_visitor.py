"""Talks to our server as a program does, each request on a connection of its own, as proxies do."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Mapping
from typing import Any

IMAGES, SEARCH = "/api/v1/images", "/api/v1/search"
TIMEOUT_SECONDS = 60


class WrongAnswer(Exception):
    """The server did not answer as it must."""


class Visitor:
    def __init__(self, address: str, token: str = "") -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def upload(self, file: bytes, **said: str) -> str:
        """Return the id of the image, which must be a new one."""
        stored = json.loads(self.post(IMAGES, said, file=file, expected=201))[0]
        if not stored["is_new"]:
            raise WrongAnswer(f"An image is said to be there: {stored}")
        return str(stored["id"])

    def get(self, path: str) -> bytes:
        """Return what a path answers. Raise WrongAnswer unless that is 200."""
        return _expected(200, path, *self.ask("GET", path))

    def post(
        self, path: str, said: Mapping[str, str], *, file: bytes, expected: int = 200
    ) -> bytes:
        """Send a form with a file, which is its image. Raise WrongAnswer for another status."""
        boundary = uuid.uuid4().hex
        name = "file" if path == IMAGES else "image"
        fields = [(f'name="{field}"', text.encode()) for field, text in said.items()]
        fields.append((f'name="{name}"; filename="a.jpg"\r\nContent-Type: image/jpeg', file))
        head = f"--{boundary}\r\nContent-Disposition: form-data; "
        parts = [f"{head}{what}\r\n\r\n".encode() + content for what, content in fields]
        body = b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return _expected(expected, path, *self.ask("POST", path, body, kind))

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, Any] = {}
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, {**self._headers, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _expected(status: int, path: str, given: int, body: bytes) -> bytes:
    if given != status:
        raise WrongAnswer(f"{path} was answered {given} and not {status}: {body[:500]!r}")
    return body
