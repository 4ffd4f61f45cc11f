from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from django.core.management import call_command
from django.db import connection

from embeddings import live
from embeddings.models import QuerySample
from gallery import spaces
from gallery.auto_tags import answers, changes, encoding, passes, wording
from gallery.auto_tags.answers import Answer
from gallery.auto_tags.changes import Setting
from gallery.models import Album, ApiToken, Caption, Image, ImageEmbedding, SavedSearch
from gallery.pipeline import embed_waiting
from gallery.query import Mode, Query, TextTerm, forms
from tests.gallery.storage.conftest import (  # noqa: F401  # fixtures
    bucket,
    endpoint,
    keys,
    moto,
    proxy,
    rclone,
    shaky,
    url,
    use,
)
from tests.gallery.uploads import stored
from tests.rows import make_user

N = 6


@pytest.fixture(autouse=True)
def own_data_folder(settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def images(transactional_db) -> list[Image]:
    """A small gallery in which everything a backup must keep has some rows."""
    live.forget_all()
    ann = make_user(is_superuser=True, is_staff=True)
    spaces.ensure()
    made = [stored(seed, caption=f"a red boat, number {seed}") for seed in range(N)]
    made[0].album = Album.objects.create(owner=ann, name="Holidays\tand \\N \u2028 more")
    made[0].metadata = {"lens": "50 mm", "quote": 'a "b" \\ c', "deep": {"n": [1, None]}}
    made[0].save()
    made[1].tags.create(name="sea")
    Caption.objects.create(image=made[2], text="two people\non a beach", source="coco")
    embed_waiting()
    asked = ImageEmbedding.objects.latest("pk")
    QuerySample.objects.create(space_id=asked.space_id, vector=np.roll(asked.vector, 3).tolist())
    ApiToken.issue(ann, "for the phone")
    query = Query(terms=(TextTerm("a boat"),), mode=Mode.HYBRID)
    SavedSearch.objects.create(owner=ann, name="boats", query=forms.to_json(query))
    setting = Setting(wording=wording.read(["a boat"], ["{}", "see {}"]), mode="apply")
    boat = changes.make(ann, "boat", setting)
    for answer, image in ((Answer.ACCEPT, made[3]), (Answer.REJECT, made[4])):
        answers.give(boat, answer, [image.uuid], by=ann.pk)
    encoding.encode_waiting()
    passes.run()
    return made


@pytest.fixture
def empty(settings, tmp_path: Path):
    """Return a function that takes database and files away, as on a new machine."""

    def empty(*, keeps_files: bool = False) -> None:
        call_command("flush", interactive=False, verbosity=0)
        spaces.forget()
        live.forget_all()
        if not keeps_files:
            settings.MEDIA_ROOT = tmp_path / "new" / "media"
            shutil.rmtree(settings.INDEX_DIR, ignore_errors=True)

    return empty


@pytest.fixture
def other(tmp_path) -> Iterator[dict[str, str]]:
    """The variables of another machine: a database without tables, an empty folder."""
    name = f"other_{uuid.uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    folder = tmp_path / "other"
    folder.mkdir()
    yield {
        "DATABASE_URL": f"{os.environ['DATABASE_URL'].rsplit('/', 1)[0]}/{name}",
        "DATA_DIR": str(folder),
    }
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def file(images, tmp_path: Path) -> Path:
    """A backup of the small gallery."""
    path = tmp_path / "gallery.tar"
    call_command("backup", str(path))
    return path
