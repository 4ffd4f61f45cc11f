from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import TransactionTestCase

from embeddings.encoders import opening, sources
from gallery import spaces
from tests import emptying


def pytest_configure() -> None:
    # pytest-django's tests with transactions of their own end with it.
    TransactionTestCase._fixture_teardown = lambda _case: emptying.empty()  # type: ignore[attr-defined]  # a private name, which the stubs leave out


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first, so that several processes end at the same time."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """Have Python's collector pass over the tests themselves, and over what they import.

    To look at them takes it half a second, each time that a test asks it to.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _exported_encoder() -> None:
    """No test waits for what is done once."""
    opening.open_source(sources.find(sources.BUNDLED))


@pytest.fixture(autouse=True)
def own_folders(settings, tmp_path: Path) -> Iterator[None]:
    """Every test has its own files, snapshots and cache."""
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.INDEX_DIR = tmp_path / "index"
    settings.UPLOAD_DIR = tmp_path / "uploads"
    settings.IMPORT_DIR = tmp_path / "imports"
    settings.STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    cache.clear()
    spaces.forget()
    yield
    cache.clear()
