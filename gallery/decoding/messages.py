"""What passes between a process and those that decode for it: a JSON object, then plain bytes.

Never pickle: a hostile file that takes a decoder over must not run code in its reader.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import ExitStack
from typing import Any, NamedTuple

_LENGTHS = struct.Struct(">IQ")  # bytes of the object, bytes of the body
_MOST_JSON = 2**20
_MOST_BODY = 2**31


class Message(NamedTuple):
    said: dict[str, Any]
    body: bytes | bytearray = b""
    file: int | None = None  # a descriptor that came along; the receiver closes it


def send(to: socket.socket, message: Message) -> None:
    """Write a message whole; `file` is passed on and stays open here. Raise OSError."""
    said = json.dumps(message.said).encode()
    start = _LENGTHS.pack(len(said), len(message.body)) + said
    if message.file is None:
        to.sendall(start)
    else:
        sent = socket.send_fds(to, [start], [message.file])
        to.sendall(start[sent:])
    if message.body:
        to.sendall(message.body)


def receive(source: socket.socket) -> Message:
    """Read a message whole. Raise EOFError at the end of the stream, OSError, or ValueError."""
    start, files, _, _ = socket.recv_fds(source, _LENGTHS.size, maxfds=1)
    with ExitStack() as undo:
        for file in files:
            undo.callback(os.close, file)
        if not start:
            raise EOFError("the other side has ended")
        start += _read(source, _LENGTHS.size - len(start))
        json_bytes, body_bytes = _LENGTHS.unpack(start)
        if json_bytes > _MOST_JSON or body_bytes > _MOST_BODY:
            raise ValueError("a message is too large")
        said = json.loads(_read(source, json_bytes))
        if not isinstance(said, dict):
            raise ValueError("a message is no object")
        body = _read(source, body_bytes)
        undo.pop_all()
    return Message(said, body, files[0] if files else None)


def _read(source: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        read = source.recv_into(view)
        if read == 0:
            raise EOFError("the other side has ended")
        view = view[read:]
    return buffer
