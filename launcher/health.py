"""Asking the web server how it is, and whether its port is free before it starts."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import Any

from launcher.errors import LauncherError
from launcher.site import Address

TIMEOUT_SECONDS = 5.0
LINGER_SECONDS = 2.0  # a process that was just killed may hold its port for a moment


@dataclass(frozen=True, kw_only=True)
class Health:
    is_good: bool
    text: str  # what the server said, or why it said nothing
    notice: str = ""  # what a person should know although all is well


def ask(address: Address, path: str, *, host: str) -> Health:
    """GET the path under a host name that the site answers to.

    Plain http.client: a proxy named in the environment must not answer instead.
    """
    connection = http.client.HTTPConnection(
        address.local_host, address.port, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        text = response.read(10_000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return Health(is_good=False, text=str(error) or type(error).__name__)
    finally:
        connection.close()
    said = _parsed(text)
    return Health(
        is_good=response.status == 200,
        text=" ".join(said.get("reasons", [])) or text.strip(),
        notice=said.get("notice", ""),
    )


def check_port(address: Address) -> None:
    """Raise LauncherError if the web server could not listen there."""
    deadline = time.monotonic() + LINGER_SECONDS
    while True:
        try:
            return _listen(address)
        except socket.gaierror as error:
            raise LauncherError(f"{address.host} is no address of this machine.") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise LauncherError(
                    f"Cannot listen on {address.bind}: {error.strerror}."
                ) from error
            if time.monotonic() > deadline:
                raise LauncherError(
                    f"Port {address.port} is taken by another program: choose one with --port."
                ) from error
        time.sleep(0.1)


def _listen(address: Address) -> None:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        # As gunicorn does: connections that linger from the last run are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
        probe.listen(1)


def _parsed(text: str) -> dict[str, Any]:
    """The answer of /readyz; nothing, where another address or another program answered."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
