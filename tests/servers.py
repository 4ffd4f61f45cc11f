"""A pytest plugin: an own Postgres and Redis for the tests, in a folder that goes away with them.

It is loaded by `-p` (see pyproject.toml), because pytest-django reads the settings, and they the
environment, before any conftest.py. Of the processes of pytest-xdist each has its own.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path

from launcher.environment import embedded_servers, temporary_data_dir
from launcher.servers import ROOT


def _start() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        for name in ("DATABASE_URL", "REDIS_URL"):  # those of the process that hands out the tests
            os.environ.pop(name, None)
    servers = ExitStack()
    data_dir = str(servers.enter_context(temporary_data_dir()))
    os.environ |= {
        "DATA_DIR": data_dir,
        "ENCODER": "bundled",
        # Exported once, for all runs of the tests: that takes a quarter of a minute.
        "ENCODER_CACHE_DIR": str(ROOT / "var" / "test-encoders"),
        # No test asks a model hub, and none measures what a second thread would give.
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        # None cuts the power, either: no commit waits for the disk.
        "PGOPTIONS": "-c synchronous_commit=off",
    }
    os.environ.setdefault("SECRET_KEY", "only-for-tests-" + "x" * 50)
    os.environ |= servers.enter_context(embedded_servers(os.environ))
    Path(data_dir, "static").mkdir()  # whitenoise warns of a missing one
    # Last, so that it comes first at the end: before the folder is removed.
    atexit.register(servers.close)


_start()
