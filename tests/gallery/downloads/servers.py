"""Servers on loopback that answer as no honest one would: bytes, and not a library's HTTP."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answering = Callable[["Asked"], None]


class Asked:
    """One request: its first line, headers and the connection to answer on."""

    def __init__(self, connection: socket.socket, head: bytes) -> None:
        self.connection = connection
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = first.split(" ", 2)
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }

    def send(self, *pieces: bytes, every: float = 0.0) -> None:
        for piece in pieces:
            self.connection.sendall(piece)
            time.sleep(every)

    def answer(self, status: int, body: bytes = b"", **headers: object) -> None:
        """Answer well, and keep the connection."""
        given = {"Content-Length": len(body)} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        shown = b"" if self.method == "HEAD" else body
        self.send(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + shown)

    def hang_up(self) -> None:
        raise ConnectionAbortedError


class Server:
    """Answers every request in a thread a connection, and remembers what was asked."""

    def __init__(self, answering: Answering, *, host: str, tls: ssl.SSLContext | None) -> None:
        self.answering = answering
        self.asked: list[Asked] = []
        self.connections = 0
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def close(self) -> None:
        try:
            # Wakes the thread that accepts; close alone would not.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already
        self._listener.close()
        for connection in list(self._open):
            _close(connection)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        plain = connection
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    received = connection.recv(65536)
                    if not received:
                        return
                    rest += received
                head, _, rest = rest.partition(b"\r\n\r\n")
                asked = Asked(connection, head)
                self.asked.append(asked)
                self.answering(asked)
        except OSError:
            pass  # whoever asked has left, or was hung up on
        finally:
            self._open.discard(plain)
            _close(connection)


def _close(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


@contextmanager
def serving(
    answering: Answering, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    server = Server(answering, host=host, tls=tls)
    try:
        yield server
    finally:
        server.close()
