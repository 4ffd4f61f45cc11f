from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.environment import temporary_data_dir
from tests.gallery.faults.site import Site


@pytest.fixture(scope="session")
def made_site() -> Iterator[Site]:
    """A site that has been prepared, was never used, and does not run."""
    with temporary_data_dir() as data_dir, Site(data_dir) as site:
        done = site.run("prepare", "--admin-file", data_dir / "admin.txt")
        assert done.returncode == 0, done.stderr
        site.stop(site.postgres)
        yield site


@pytest.fixture
def data_dir(made_site: Site) -> Iterator[Path]:
    """A copy of it, because preparing takes seconds each time."""
    with temporary_data_dir() as data_dir:
        made_site.copy_to(data_dir)
        yield data_dir


@pytest.fixture
def site(data_dir: Path) -> Iterator[Site]:
    with Site(data_dir) as site:
        yield site
