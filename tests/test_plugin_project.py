"""The plugin alone: a Django project that has nothing of this one but `embeddings`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "tests" / "plugin_project"
NAME = "plugin_project"


@pytest.fixture
def database_url() -> Iterator[str]:
    """An empty database on the tests' server."""
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {NAME}")
        connection.execute(f"CREATE DATABASE {NAME}")
        yield f"{server.rsplit('/', 1)[0]}/{NAME}"
        connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def run(folder: Path, database_url: str, *arguments: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=kept
        | {
            "DATABASE_URL": database_url,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_project_of_its_own_searches_its_products(tmp_path, database_url):
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    run(folder, database_url, "manage.py", "makemigrations", "shop")
    run(folder, database_url, "manage.py", "migrate")
    run(folder, database_url, "manage.py", "check", "--fail-level", "WARNING")
    seen = json.loads(run(folder, database_url, "try_it.py"))
    assert seen["cheap"][0] == "a green box"
    assert len(seen["cheap"]) == 3
    assert seen["route"].startswith("faiss")
    assert len(seen["prices"]) == 10
    assert max(seen["prices"]) < 80
    assert seen["best"] == "5"
    assert seen["kind"] == "flat"
    assert seen["foreign"] == []
    assert (folder / "index").is_dir()


def test_models_and_search_take_less_than_forty_lines():
    lines = [
        line
        for name in ("models.py", "search.py")
        for line in (PROJECT / "shop" / name).read_text().splitlines()
        if line.strip()
    ]
    assert len(lines) < 40


def test_the_project_knows_nothing_of_the_gallery():
    for file in PROJECT.rglob("*.py"):
        imports = re.findall(r"^(?:from|import) (\w+)", file.read_text(), re.MULTILINE)
        assert not {"gallery", "searchsite", "scenes", "launcher", "tests"} & set(imports), file
