"""`python -m launcher`, which is what bin/start runs: the whole of Semblance until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from launcher import environment
from launcher.errors import LauncherError
from launcher.run import Options, run
from launcher.site import Address
from launcher.terminal import complain, say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody asked us to end. Not an Exception: nothing on the way may catch it."""


def interrupt(number: int, frame: FrameType | None) -> None:
    # Once is enough: a second Ctrl-C must not break the tidying up.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted


def port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise ValueError
    return number


def parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="bin/start", description="Start Semblance.")
    parser.add_argument("--port", type=port, default=8000, help="of the web page (8000)")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on (127.0.0.1)")
    parser.add_argument("--data", type=Path, help="folder for all data (DATA_DIR, or var)")
    parser.add_argument("--no-demo", action="store_true", help="start with an empty gallery")
    found = parser.parse_args(arguments)
    return Options(
        address=Address(host=found.host, port=found.port),
        data_dir=found.data or environment.data_dir(os.environ),
        has_demo=not found.no_demo,
    )


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    # Pictures, keys and logs are nobody else's business, whoever writes them.
    os.umask(0o077)
    for each in SIGNALS:
        signal.signal(each, interrupt)
    try:
        run(options)
    except Interrupted:
        say("Semblance has ended.")
        return 0
    except LauncherError as error:
        complain(str(error))
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        complain(f"Semblance cannot go on: {error.strerror or error}{where}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
