"""A pytest plugin: an own Postgres and Redis for the tests, in a folder that goes away with them.

It is loaded by `-p` (see pyproject.toml), because pytest-django reads the settings, and they the
environment, before any conftest.py.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import ExitStack

from launcher.environment import embedded_servers


def _start() -> None:
    # A name that the launcher's tests cannot confuse with a folder of their own.
    data_dir = tempfile.mkdtemp(prefix="semblance-tests-")
    servers = ExitStack()
    servers.callback(shutil.rmtree, data_dir, ignore_errors=True)
    atexit.register(servers.close)
    os.environ |= {
        "DATA_DIR": data_dir,
        "ENCODER": "bundled",
        # No test asks a model hub, and none measures what a second thread would give.
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "x" * 50)
    os.environ |= servers.enter_context(embedded_servers(os.environ))


_start()
