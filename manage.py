#!/usr/bin/env python
"""Django's commands, with the servers they need: those of a running bin/start, or their own."""

from __future__ import annotations

import os
import sys

WITHOUT_SERVERS = {"version", "--version"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "searchsite.settings")
    try:
        from django.core.management import execute_from_command_line
    except ModuleNotFoundError as error:
        sys.exit(f"There is no {error.name} in this Python: run bin/manage, it sets all up.")
    if WITHOUT_SERVERS.intersection(sys.argv[1:2]):
        execute_from_command_line(sys.argv)
        return

    from launcher.environment import embedded_servers
    from launcher.errors import LauncherError

    try:
        with embedded_servers(os.environ) as found:
            os.environ.update(found)
            execute_from_command_line(sys.argv)
    except LauncherError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
