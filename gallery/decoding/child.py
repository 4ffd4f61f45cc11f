"""A process that decodes, one file after the other: `python -m gallery.decoding.child SOCKET LOCK`.

It gets open files, never paths, and has neither the database nor the settings of the server: four
limits come with each request. It ends when the other side does, when it is idle for long, and,
by an alarm that no decoder can put off, when a file takes too long.
"""

from __future__ import annotations

import fcntl
import io
import os
import signal
import socket
import sys
import warnings
from typing import IO, Any, cast

from django.conf import settings

from gallery import confinement
from gallery.decoding import messages
from gallery.decoding.messages import Message
from gallery.errors import ImageRefused

IDLE_SECONDS = 60.0
_BUFFER_BYTES = 2**16


class Positioned(io.RawIOBase):
    """A descriptor that is read without moving the offset it shares with who passed it on."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._at = 0

    def readinto(self, buffer: Any, /) -> int:
        read = os.preadv(self._file, [buffer], self._at)
        self._at += read
        return read

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        at = (os.fstat(self._file).st_size if start is None else start) + offset
        if at < 0:
            raise OSError(22, "Invalid argument")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Room:
    """Lets one process of all that share a lock file decode a large image at a time."""

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self.seconds = 0

    def __enter__(self) -> None:
        # The time of the others is not this file's: its own begins when it has the room.
        signal.alarm(0)
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        signal.alarm(self.seconds)

    def __exit__(self, *error: object) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_UN)


def main(arguments: list[str]) -> None:
    # Ctrl-C in a terminal reaches all processes; the one that asks decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    room = Room(int(arguments[1]))
    with socket.socket(fileno=int(arguments[0])) as connection:
        while True:
            connection.settimeout(IDLE_SECONDS)
            try:
                request = messages.receive(connection)
            except (EOFError, TimeoutError, ConnectionError):
                return
            connection.settimeout(None)
            room.seconds = request.said["seconds"]
            _prepare(request.said["limits"], request.said["memory_bytes"], room)
            signal.alarm(room.seconds)
            # The first request is without a file: its answer says that decoding can begin.
            answer = Message({}) if request.file is None else _answer(request, request.file)
            signal.alarm(0)
            try:
                messages.send(connection, answer)
            except ConnectionError:
                return


def _prepare(limits: dict[str, Any], memory_bytes: int, room: Room) -> None:
    if not settings.configured:
        settings.configure(USE_TZ=True, **limits)
        confinement.confine(memory_bytes)
        # What Pillow thinks of a file's metadata is no news for the server's log.
        warnings.simplefilter("ignore")

        from gallery import inspection  # reads the limits when it is imported
        from gallery.decoding import work  # noqa: F401 - takes its time before a file does

        inspection.room_for_large = room
    for name, value in limits.items():
        setattr(settings, name, value)


def _answer(request: Message, descriptor: int) -> Message:
    from gallery.decoding import work  # needs the limits

    try:
        with io.BufferedReader(Positioned(descriptor), _BUFFER_BYTES) as file:
            said, body = work.WORKS[request.said["work"]](cast(IO[bytes], file), request.said)
        return Message({"done": said}, body)
    except ImageRefused as refused:
        return Message({"refused": str(refused)})
    except OSError as error:
        return Message({"failed": [error.errno, error.strerror or str(error)]})
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
