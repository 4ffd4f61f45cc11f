"""A TCP proxy before a server, that misbehaves as networks and busy servers do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_SAID = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>"
BUSY = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_SAID), _SAID)
)


_NOTHING_MORE = b"Connection: close\r\nContent-Length: 0\r\n\r\n"


class Proxy:
    """`fault` is what happens to connections that are made from now on.

    "": none; "busy": 503; "silent": never an answer; "cut_request" and "cut_answer": the
    connection breaks off after `cut_after` bytes in that direction; "no_post": a POST is answered
    by `refuses_post`.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._server = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.fault = ""
        self.faults_left = 10**9
        self.cut_after = 100_000
        self.refuses_post = b"501 Not Implemented"
        self.connections = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def fail(self, fault: str, times: int = 10**9) -> None:
        """Break what is open and let the next connections fail; kept ones would hide it."""
        self.fault, self.faults_left, self.connections = fault, times, 0
        self._break_all()

    def close(self) -> None:
        self._listener.close()
        self._break_all()

    def _break_all(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(client)
            fault = self.fault if self.faults_left > 0 else ""
            self.faults_left -= bool(fault)
            threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: str) -> None:
        if fault == "silent":
            return
        with suppress(OSError):
            if fault == "busy":
                _answer(client, BUSY)
                return
            if fault == "no_post" and client.recv(5, socket.MSG_PEEK) == b"POST ":
                _answer(client, b"HTTP/1.1 %s\r\n%s" % (self.refuses_post, _NOTHING_MORE))
                return
            server = socket.create_connection(self._server)
            self._open.append(server)
            most = {"cut_request": (self.cut_after, None), "cut_answer": (None, self.cut_after)}
            up, down = most.get(fault, (None, None))
            back = threading.Thread(target=_pass, args=(server, client, down), daemon=True)
            back.start()
            _pass(client, server, up)


def _answer(client: socket.socket, answer: bytes) -> None:
    client.recv(65536)
    client.sendall(answer)
    client.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass


def _pass(source: socket.socket, sink: socket.socket, most: int | None) -> None:
    passed = 0
    with suppress(OSError):
        while data := source.recv(16384):
            if most is not None and passed + len(data) > most:
                sink.sendall(data[: most - passed])
                break
            sink.sendall(data)
            passed += len(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def before(server: str) -> Iterator[Proxy]:
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
