"""pg_dump, and psql into a fresh server: what stood in the old server's snapshots means nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from embeddings import live, snapshots
from gallery.models import ImageEmbedding
from launcher.environment import embedded_servers, temporary_data_dir
from launcher.postgres import find_install
from tests.rows import make_images, make_space, make_vectors, store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
BINARIES = find_install(None) / "bin"

# A process that starts with the old server's index folder. Prints what it finds by its own index.
READER = """
import json, sys, django
django.setup()
from embeddings import live
from embeddings.models import Space
from gallery.models import ImageEmbedding
from tests.embeddings.storm_reader import difference
space = Space.objects.get(pk=int(sys.argv[1]))
view = live.index_of(ImageEmbedding, space).refresh()
print(json.dumps({"snapshot": view.snapshot_id, "difference": difference(view, space),
                  "identity": view.position.identity}))
"""


def run(*command, database_url="", **given):
    environ = os.environ | {
        "DATA_DIR": str(django_settings.INDEX_DIR.parent),
        "DATABASE_URL": database_url,
    }
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=environ, capture_output=True, **given
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout


def index_of_another_process(url, space):
    out = run(sys.executable, "-c", READER, space.pk, database_url=url)
    return json.loads(out.decode().strip().splitlines()[-1])


def test_a_dump_restored_into_a_fresh_server_is_indexed_anew_and_right():
    space, ids = make_space(), make_images(60)
    store(ids, make_vectors(60), space)
    snapshot = snapshots.build(ImageEmbedding, space)
    # After the snapshot, so that in the old feed it is a change, and in the file it is not.
    store(ids[:20], make_vectors(20, seed=1), space)
    url = f"{os.environ['DATABASE_URL'].rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}"
    assert index_of_another_process(url, space)["snapshot"] == snapshot.pk
    dump = run(BINARIES / "pg_dump", "--no-owner", url)

    with (
        temporary_data_dir() as folder,
        embedded_servers({"DATA_DIR": str(folder), "REDIS_URL": "redis://unused"}) as fresh,
    ):
        restored = fresh["DATABASE_URL"]
        run(BINARIES / "psql", "--quiet", "-v", "ON_ERROR_STOP=1", restored, input=dump)
        # As every start does.
        run(sys.executable, "manage.py", "migrate", "-v", "0", database_url=restored)
        seen = index_of_another_process(restored, space)
        assert seen["difference"] == ""
        assert seen["snapshot"] is None  # the old one is of another server
        assert seen["identity"] != live.index_of(ImageEmbedding, space).refresh().position.identity

        built = run(sys.executable, "manage.py", "build_index", database_url=restored)
        assert b"60" in built
        seen = index_of_another_process(restored, space)
        assert seen["difference"] == ""
        assert seen["snapshot"] > snapshot.pk
