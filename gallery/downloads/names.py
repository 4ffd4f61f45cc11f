"""Names of hosts, looked up as the system does it, with a time limit that the system does not know.

Each look-up has a thread of its own. One that hangs is left behind at its deadline: it holds up who
asked for it, and nobody else. Who asks for the same name meanwhile waits for the same look-up.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from ipaddress import ip_address

from gallery.downloads.errors import DownloadFailed, DownloadRefused, NameUnanswered
from gallery.downloads.vetting import Address

# The system asks a second name server when the first has been silent for exactly 5 s. So this is
# longer than a connection waits: its own limit is the one that decides.
SECONDS = 20.0
# Under way, those that were left behind among them. The system gives each up after a minute or so.
MOST_AT_ONCE = 256

Found = list[Address]


class Names:
    """Looks up names, for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Found]] = {}

    def look_up(self, host: str, *, seconds: float | None) -> Found:
        """Return the addresses of a host, no two alike. Raise DownloadFailed where it has none."""
        at_most = SECONDS if seconds is None else min(seconds, SECONDS)
        try:
            return list(self._look_up(host).result(at_most))
        except TimeoutError as error:
            raise NameUnanswered(
                f"The address of {host} could not be looked up in time.", may_pass=True
            ) from error
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise NameUnanswered(
                    f"The address of {host} cannot be looked up now.", may_pass=True
                ) from error
            raise DownloadFailed(f"There is no host {host.rstrip('.')}.") from error
        except UnicodeError as error:
            raise DownloadRefused("The address names no host.") from error

    def _look_up(self, host: str) -> Future[Found]:
        with self._lock, ExitStack() as undo:
            if host in self._under_way:
                return self._under_way[host]
            if len(self._under_way) >= MOST_AT_ONCE:
                raise DownloadFailed(
                    "Too many names are being looked up that nobody answers for.", may_pass=True
                )
            lookup: Future[Found] = Future()
            self._under_way[host] = lookup
            undo.callback(self._under_way.pop, host)
            # A daemon: the process may end while one hangs.
            threading.Thread(
                target=self._ask, args=(host, lookup), name="look-up", daemon=True
            ).start()
            undo.pop_all()
        return lookup

    def _ask(self, host: str, lookup: Future[Found]) -> None:
        try:
            found = _addresses(host)
        except (OSError, UnicodeError) as error:
            self._forget(host)
            lookup.set_exception(error)
        else:
            self._forget(host)
            lookup.set_result(found)

    def _forget(self, host: str) -> None:
        """Let the next one who asks look anew: before the answer, so that none is used twice."""
        with self._lock:
            del self._under_way[host]


def _addresses(host: str) -> Found:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(place[0])) for *_, place in found))
