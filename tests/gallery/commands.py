"""A command of ours as a process of its own, on the tests' database and files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parent.parent.parent


def start(*arguments: object, program: str = "", **variables: str) -> subprocess.Popen[str]:
    """Start `manage.py` with these arguments; `program` is Python that runs before it."""
    url = os.environ["DATABASE_URL"]
    environ = os.environ | {
        "DATABASE_URL": f"{url.rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}",
        "DATA_DIR": str(settings.MEDIA_ROOT.parent),
        "DJANGO_SETTINGS_MODULE": "searchsite.settings",
        **variables,
    }
    code = (
        f"import django; django.setup()\n{program}\n"
        "from django.core.management import execute_from_command_line\n"
        f"execute_from_command_line(['manage.py', *{[str(one) for one in arguments]!r}])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
