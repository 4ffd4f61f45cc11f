"""Writers of every kind at full speed against two web processes and a builder of snapshots."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection, transaction

from embeddings import snapshots
from embeddings.streams import halfvec_text
from gallery.models import Image, ImageEmbedding
from tests.rows import make_images, make_space, make_vectors, store
from tests.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SECONDS = float(os.environ.get("STORM_SECONDS", "6"))
READERS = 2
IMAGES = 400


class Reader:
    """A process of its own that serves searches; see storm_reader."""

    def __init__(self, space, log: Path):
        url = os.environ["DATABASE_URL"]
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.embeddings.storm_reader", str(space.pk)],
                cwd=Path(__file__).resolve().parents[2],
                env=os.environ
                | {
                    "DATABASE_URL": f"{url.rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}",
                    "DATA_DIR": str(django_settings.INDEX_DIR.parent),
                    "INDEX_POLL_SECONDS": "0.05",
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def begin(self):
        assert self.process.stdout.readline() == "searching\n", self.log.read_text()

    def end(self):
        answer, _ = self.process.communicate("\n", timeout=120)
        assert answer, self.log.read_text()
        return json.loads(answer)

    def kill(self):
        self.process.kill()
        self.process.communicate()


class Writer(threading.Thread):
    """Does one kind of writing again and again until told to stop; a deadlock is tried anew."""

    def __init__(self, write, space, ids, stop):
        super().__init__(name=write.__name__)
        self.write, self.space, self.ids, self.stop = write, space, ids, stop
        self.done, self.error = 0, None

    def run(self):
        chance = random.Random(self.name)
        try:
            while not self.stop.is_set():
                some = sorted(chance.sample(self.ids, 5))
                try:
                    self.write(self.space, some, make_vectors(5, seed=chance.randrange(10**6)))
                    self.done += 1
                except OperationalError as error:
                    if "deadlock" not in str(error):
                        raise
        except Exception as error:  # noqa: BLE001  (the test judges it)
            self.error = error
        finally:
            connection.close()


def by_orm(space, ids, vectors):
    for image_id, vector in zip(ids, vectors.tolist(), strict=True):
        ImageEmbedding.objects.update_or_create(
            image_id=image_id, space=space, defaults={"vector": vector}
        )


def in_bulk(space, ids, vectors):
    store(ids, vectors, space)


def by_raw_sql(space, ids, vectors):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE gallery_imageembedding SET vector = %s::halfvec WHERE image_id = ANY(%s)",
            [halfvec_text(vectors[0]), ids[:2]],
        )
        cursor.execute("DELETE FROM gallery_imageembedding WHERE image_id = %s", [ids[2]])


def by_copy(space, ids, vectors):
    rows = StringIO()
    for image_id, vector in zip(ids, vectors, strict=True):
        rows.write(f"{image_id}\t{space.pk}\t{halfvec_text(vector)}\n")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM gallery_imageembedding WHERE image_id = ANY(%s)", [ids])
        # Others insert, too: the table is locked so that COPY is alone: it knows no ON CONFLICT.
        cursor.execute("LOCK TABLE gallery_imageembedding IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("DELETE FROM gallery_imageembedding WHERE image_id = ANY(%s)", [ids])
        with cursor.copy(
            "COPY gallery_imageembedding (image_id, space_id, vector) FROM STDIN"
        ) as copy:
            copy.write(rows.getvalue())


def by_cascade(space, ids, vectors):
    new = make_images(3)
    store(new, vectors[:3], space)
    Image.objects.filter(pk__in=new[:2].tolist()).delete()
    with connection.cursor() as cursor:  # the database's own way, without Django's
        cursor.execute("DELETE FROM gallery_imageembedding WHERE image_id = %s", [int(new[2])])
        cursor.execute("DELETE FROM gallery_image WHERE id = %s", [int(new[2])])


def rolled_back(space, ids, vectors):
    with transaction.atomic():
        store(ids, vectors, space)
        ImageEmbedding.objects.filter(image_id=ids[0]).delete()
        transaction.set_rollback(True)


def by_truncate(space, ids, vectors):
    time.sleep(1)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE gallery_imageembedding")
    store(ids, vectors, space)


def builds(space, ids, vectors):
    time.sleep(0.5)
    snapshots.build(ImageEmbedding, space)


KINDS = (by_orm, in_bulk, by_raw_sql, by_copy, by_cascade, rolled_back, by_truncate, builds)


def test_two_web_processes_hold_what_postgres_holds_after_a_storm(settings, tmp_path):
    space, ids = make_space(), make_images(IMAGES).tolist()
    store(ids, make_vectors(IMAGES), space)
    readers = [Reader(space, tmp_path / f"reader{n}.log") for n in range(READERS)]
    stop = threading.Event()
    writers = [Writer(write, space, ids, stop) for write in KINDS]
    try:
        for reader in readers:
            reader.begin()
        for writer in writers:
            writer.start()
        time.sleep(SECONDS)
        wait_until(lambda: all(writer.done or writer.error for writer in writers))
        stop.set()
        for writer in writers:
            writer.join()
        assert [writer.error for writer in writers if writer.error] == []
        assert all(writer.done for writer in writers), {w.name: w.done for w in writers}
        for reader in readers:
            seen = reader.end()
            assert seen["difference"] == "", seen
            assert seen["searches"] > 20
            assert len(seen["routes"]) > 1  # the index, and Postgres where there was none
    finally:
        stop.set()
        for reader in readers:
            reader.kill()
