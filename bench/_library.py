"""A gallery of numbers for benchmarks: embedded servers, image rows, vectors in Postgres."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench._data import DIMENSIONS, Float16s
from launcher.environment import embedded_servers, temporary_data_dir

if TYPE_CHECKING:
    from embeddings.models import Space
    from embeddings.vectors import Ids

BUCKETS = 1000  # category "000" to "999", at random: what the filters select by
ROWS_AT_ONCE = 20_000

_IMAGES = """
INSERT INTO gallery_image (id, uuid, owner_id, sha256, file, thumbnail_small, thumbnail_large,
    original_name, mime_type, width, height, bytes, camera, colours, caption, category, metadata,
    source_url, licence, attribution, visibility, state, failure, added_at, changed_at)
SELECT i, gen_random_uuid(), %(owner)s, lpad(i::text, 64, '0'), '', '', '',
    'IMG_' || i || '.jpg', 'image/jpeg', 4000, 3000, 3000000, '', '[]',
    'image number ' || i, lpad((%(buckets)s::int[])[i - %(first)s + 1]::text, 3, '0'), '{}',
    '', '', '', 'public', 'ready', '', now(), now()
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i
"""


@contextmanager
def servers(**variables: str) -> Iterator[Path]:
    """Run an embedded Postgres and Redis, migrated, for the life of the block; give its folder."""
    os.environ |= {"LOG_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"} | variables
    os.environ.setdefault("ENCODER", "bundled")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "searchsite.settings")
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_data_dir())
        os.environ["DATA_DIR"] = str(folder)
        os.environ.update(stack.enter_context(embedded_servers(os.environ)))
        (folder / "static").mkdir(exist_ok=True)  # whitenoise warns of a missing one

        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        stack.callback(connections.close_all)
        yield folder


def empty() -> None:
    """Remove all images, vectors and indexes."""
    from django.conf import settings
    from django.db import connection

    from embeddings import live
    from embeddings.id_sets import id_sets
    from embeddings.models import Space

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE gallery_image CASCADE")
    Space.objects.all().delete()
    live.forget_all()
    id_sets.forget_all()
    shutil.rmtree(settings.INDEX_DIR, ignore_errors=True)


def make_space(name: str = "numbers", revision: str = "1") -> Space:
    from embeddings.models import Space

    return Space.objects.create(
        name=name, revision=revision, dimensions=DIMENSIONS, state=Space.State.ACTIVE
    )


def buckets(n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the category of each of n images, 0 to 999."""
    return np.random.default_rng(3).integers(BUCKETS, size=n)


def fill(space: Space, vectors: Float16s) -> Ids:
    """Write an image and its vector for each row; return their primary keys: 1 to n.

    In a fraction of the time that add_image() would take, and without the triggers: full text and
    feed stay empty, as after a restore. The next snapshot has everything.
    """
    from django.contrib.auth.models import User
    from django.db import connection, transaction

    from embeddings import feed
    from gallery.models import ImageEmbedding

    owner, _ = User.objects.get_or_create(username="bench")
    categories = buckets(len(vectors))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("ALTER TABLE gallery_imageembedding DISABLE TRIGGER USER")
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            some = categories[start : start + ROWS_AT_ONCE].tolist()
            cursor.execute(
                _IMAGES,
                {
                    "owner": owner.pk,
                    "buckets": some,
                    "first": start + 1,
                    "last": start + len(some),
                },
            )
        cursor.execute("SELECT setval('gallery_image_id_seq', %s)", [len(vectors)])
        ids = np.arange(1, len(vectors) + 1, dtype=np.int64)
        statement = (
            "COPY gallery_imageembedding (image_id, space_id, vector) FROM STDIN (FORMAT BINARY)"
        )
        copy_in(statement, ids, space.pk, vectors)
        feed.install(ImageEmbedding)  # wakes them
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return ids


def copy_in(statement: str, ids: Ids, number: int, vectors: Float16s) -> None:
    """Write rows of (id bigint, number bigint, vector halfvec), packed by numpy."""
    from django.db import connection

    row = np.dtype(
        [
            ("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i8"),
            ("number_bytes", ">i4"), ("number", ">i8"),
            ("vector_bytes", ">i4"), ("width", ">i2"), ("unused", ">i2"),
            ("vector", ">f2", (DIMENSIONS,)),
        ]
    )  # fmt: skip
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
        for start in range(0, len(ids), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            rows = np.zeros(len(ids[some]), row)
            rows["fields"], rows["id_bytes"], rows["number_bytes"] = 3, 8, 8
            rows["id"], rows["number"] = ids[some], number
            rows["vector_bytes"], rows["width"] = 4 + 2 * DIMENSIONS, DIMENSIONS
            rows["vector"] = vectors[some]
            copy.write(rows.tobytes())
        copy.write(struct.pack(">h", -1))
