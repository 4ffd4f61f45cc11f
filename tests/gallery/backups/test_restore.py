from __future__ import annotations

import json
import signal
import uuid
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from embeddings import feed
from embeddings.models import Snapshot, Space
from gallery.auto_tags import encoding, passes
from gallery.backups import questions, reading
from gallery.backups.manifest import Answer
from gallery.descriptions import Description
from gallery.imports.tasks import next_run
from gallery.models import (
    ApiToken,
    AutoTagCalibration,
    AutoTagReader,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    ImportRun,
    RunState,
    Upload,
    UploadState,
)
from gallery.pipeline import embed_waiting
from gallery.uploads import sessions
from tests.gallery.backups import archives
from tests.gallery.backups.machines import no_more_than, run
from tests.gallery.backups.state import contents, counts, rows, rows_of
from tests.gallery.uploads import stored
from tests.rows import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def restore(file) -> None:
    call_command("restore", str(file))


def refused(file, match: str) -> None:
    """A restore must end with this sentence, and leave nothing that looks like a gallery."""
    with pytest.raises(CommandError, match=match) as raised:
        restore(file)
    assert raised.value.returncode == 2
    assert set(counts().values()) == {0}


def test_everything_comes_back_bit_by_bit(file, images, empty, capsys):
    before, files = rows(), contents()
    empty()
    make_user("made-here")
    restore(file)
    after = rows()
    for table, kept in before.items():
        assert after[table] == kept, table
    assert contents() == files
    told = capsys.readouterr()
    assert "The account made-here made here gives way." in told.err
    assert f"Restored: {len(images)} images" in told.out
    assert "0 answers differ; the index finds 100.0%" in told.out
    call_command("verify", "--hash")
    assert Snapshot.objects.exists()
    assert not default_storage.exists("restore.json")


def test_a_restored_gallery_lives_on(file, images, empty):
    highest = Image.objects.latest("pk").pk
    empty()
    restore(file)
    new = stored(99, caption="a new one")  # triggers are awake again, numbers go on
    assert new.pk > highest
    position = feed.position(ImageEmbedding)
    embed_waiting()
    space = Space.objects.get()
    assert feed.changes(ImageEmbedding, space, position).ids.tolist() == [new.pk]
    assert new.captions.get().text == "a new one"
    images[0].refresh_from_db()
    assert images[0].album.name == "Holidays\tand \\N \u2028 more"
    assert ApiToken.objects.get().name == "for the phone"
    call_command("verify")


def test_auto_tags_and_what_was_said_of_them_hold_when_all_is_compared_anew(file, images, empty):
    before = rows()
    empty()
    restore(file)
    assert encoding.encode_waiting() == 0
    AutoTagCalibration.objects.update(version=None)
    assert passes.run() == 0
    after = rows()
    for table in ("gallery_autotag", "gallery_tagsuggestion", "gallery_image_tags"):
        assert after[table] == before[table] != []
    assert AutoTagReader.objects.get().identity == feed.position(ImageEmbedding).identity


def test_it_is_restored_by_another_process_into_a_database_without_tables(file, images, other):
    out = run("restore", file, **other)
    assert f"Restored: {len(images)} images" in out
    assert "0 answers differ" in out
    there = rows_of(other["DATABASE_URL"])
    for table, kept in rows().items():
        assert there[table] == kept, table
    assert contents(FileSystemStorage(location=Path(other["DATA_DIR"], "media"))) == contents()


KILLED_AT_A_FILE = """
import os
from django.core.files.storage import FileSystemStorage
real = FileSystemStorage._save
saved = []
def save(self, name, content):
    saved.append(name)
    if len(saved) == 8:
        content.chunks = lambda: [b"half"]
        real(self, name, content)
        os.kill(os.getpid(), 9)
    return real(self, name, content)
FileSystemStorage._save = save
"""
KILLED_AMONG_ROWS = """
import os
from gallery.backups import tables
real = tables.load
loaded = []
def load(*given):
    loaded.append(real(*given))
    if len(loaded) == 15:
        os.kill(os.getpid(), 9)
tables.load = load
"""
KILLED_AFTER_THE_ROWS = """
import os
from gallery.backups import restoring
real = restoring.Restore._load
def load(*given):
    real(*given)
    os.kill(os.getpid(), 9)
restoring.Restore._load = load
"""
KILLED_AT_THE_QUESTIONS = """
import os
from gallery.backups import questions
questions.ask_again = lambda *given: os.kill(os.getpid(), 9)
"""
KILLED_AT_THE_LAST_LOOK = """
import os
from gallery import verification
verification.disagreements = lambda **given: os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    "program",
    [
        KILLED_AT_A_FILE,
        KILLED_AMONG_ROWS,
        KILLED_AFTER_THE_ROWS,
        KILLED_AT_THE_QUESTIONS,
        KILLED_AT_THE_LAST_LOOK,
    ],
)
def test_a_restore_that_is_killed_goes_on(file, images, empty, program):
    before, files = rows(), contents()
    empty()
    run("restore", file, status=-signal.SIGKILL, program=program)
    assert default_storage.exists("restore.json")
    assert Image.objects.count() in (0, len(images))
    restore(file)
    assert rows() == before
    assert contents() == files
    assert not default_storage.exists("restore.json")
    with pytest.raises(CommandError, match="The database is not empty"):
        restore(file)


@pytest.mark.parametrize(
    ("state", "is_unattended"),
    [
        (RunState.RUNNING, False),
        (RunState.RUNNING, True),
        (RunState.WAITING, True),
        (RunState.UNDOING, False),
    ],
)
def test_no_import_begins_by_itself(images, tmp_path, empty, state, is_unattended):
    ImportRun.objects.create(
        owner=images[0].owner, source="folder", state=state, is_unattended=is_unattended,
        lease_token=uuid.uuid4(), lease_until=timezone.now() - timedelta(hours=1),
    )  # fmt: skip
    call_command("backup", str(tmp_path / "b.tar"))
    empty()
    restore(tmp_path / "b.tar")
    assert ImportRun.objects.get().state == RunState.PAUSED
    assert next_run() is None
    call_command("verify")


def test_what_was_under_way_is_let_go(images, tmp_path, empty):
    until = timezone.now() + timedelta(hours=1)
    stored(50).jobs.update(lease_token=uuid.uuid4(), lease_until=until)
    call_command("backup", str(tmp_path / "b.tar"))
    empty()
    restore(tmp_path / "b.tar")
    assert ImageEmbeddingJob.objects.get().lease_token is None


def test_uploads_that_had_not_arrived_are_gone(images, tmp_path, empty):
    owner = images[0].owner
    session = sessions.start(owner, Description(), files=2)
    given = {"owner": owner, "bytes": 9, "expires_at": timezone.now() + timedelta(hours=1)}
    Upload.objects.create(session=session, **given)
    Upload.objects.create(received=9, **given)  # all of it was there, and no image yet
    Upload.objects.create(session=session, state=UploadState.NEW, image=images[0], **given)
    call_command("backup", str(tmp_path / "b.tar"))
    empty()
    restore(tmp_path / "b.tar")
    upload = Upload.objects.get()
    assert upload.state == UploadState.NEW
    found = sessions.counts(upload.session)
    assert (found.arriving, found.unsent, found.new) == (0, 0, 1)


# What is there already


def test_a_gallery_in_use_is_not_written_over(file, images, tmp_path, settings):
    before = rows()
    with pytest.raises(CommandError, match="The database is not empty: gallery_album has rows"):
        restore(file)
    assert rows() == before
    assert not default_storage.exists("restore.json")


def test_a_storage_in_use_is_not_written_into(file, empty):
    empty()
    default_storage.save("images/ab/somebodys.png", ContentFile(b"x"))
    refused(file, "The storage holds files already")


def test_two_restores_into_one_storage_do_not_mix(file, empty):
    empty()
    default_storage.save(
        "restore.json", ContentFile(json.dumps({"backup": str(uuid.uuid4())}).encode())
    )
    refused(file, "the beginning of another restore")


def test_users_who_are_there_are_not_replaced(file, empty):
    empty()
    make_user("bea")
    make_user("cid")
    refused(file, "has users already")


# The disk


def test_a_full_disk_is_a_sentence_and_leaves_the_older_backup(file):
    before = file.read_bytes()
    with (
        no_more_than(20_000),
        pytest.raises(CommandError, match="cannot be written: File too large") as raised,
    ):
        call_command("backup", str(file), "--replace")
    assert raised.value.returncode == 2
    assert file.read_bytes() == before
    assert list(file.parent.glob("*.partial")) == []


def test_a_restore_onto_a_full_disk_goes_on_when_there_is_room(file, images, empty):
    files = contents()
    empty()
    with no_more_than(1000):
        refused(file, "The storage does not take or give a file: File too large")
    restore(file)
    assert contents() == files
    call_command("verify")


def test_a_mark_that_was_cut_off_holds_no_restore_up(file, images, empty):
    empty()
    default_storage.save("restore.json", ContentFile(b""))
    restore(file)
    assert Image.objects.count() == len(images)


# Other answers


def test_other_answers_are_told(file, images, empty, capsys, tmp_path):
    def turn(known) -> None:
        for question in known["proof"]["vectors"]:
            question["answer"]["ids"].reverse()
            question["answer"]["scores"] = [0.9, *question["answer"]["scores"][1:]]

    forged = archives.forge(file, tmp_path / "forged.tar", edit=turn)
    empty()
    with pytest.raises(CommandError, match="not all is as it was") as raised:
        restore(forged)
    assert raised.value.returncode == 1
    assert "were nearest, now" in capsys.readouterr().err
    assert Image.objects.count() == len(images)


def test_another_encoder_is_told_and_the_rest_restored(file, images, empty, capsys, tmp_path):
    revision = Space.objects.get().revision
    older = revision[::-1]

    def change(name, content):
        return name, content.replace(revision.encode(), older.encode())

    def edit(known) -> None:
        known["spaces"][0]["revision"] = older

    forged = archives.forge(file, tmp_path / "forged.tar", change, edit)
    empty()
    with pytest.raises(CommandError, match="not all is as it was"):
        restore(forged)
    told = capsys.readouterr().err
    assert f"is here in revision {revision[:12]}" in told
    assert f"were made with {older[:12]}" in told
    assert "Texts cannot be asked" in told
    assert Image.objects.count() == len(images)


def test_asking_again_finds_a_vector_that_has_changed(images):
    proof = questions.ask()
    assert questions.ask_again(proof, lambda: None).differences == []
    embedding = ImageEmbedding.objects.first()
    embedding.vector = np.roll(embedding.vector, 1).tolist()
    embedding.save()
    assert questions.ask_again(proof, lambda: None).differences


@pytest.mark.parametrize(
    ("was", "now", "is_same"),
    [
        (([1, 2, 3], [0.9, 0.8, 0.7]), ([1, 2, 3], [0.9, 0.8, 0.7]), True),
        # Processors round differently, and equals change places.
        (([1, 2, 3], [0.9, 0.8, 0.8]), ([1, 3, 2], [0.9, 0.800001, 0.8]), True),
        (([1, 2, 3], [0.9, 0.8, 0.7]), ([1, 2, 4], [0.9, 0.8, 0.7]), True),
        (([1, 2, 3], [0.9, 0.8, 0.7]), ([1, 4, 3], [0.9, 0.8, 0.7]), False),
        (([1, 2, 3], [0.9, 0.8, 0.7]), ([1, 2, 3], [0.9, 0.8, 0.6]), False),
        (([1, 2, 3], [0.9, 0.8, 0.7]), ([1, 2], [0.9, 0.8]), False),
        (([], []), ([], []), True),
    ],
)
def test_what_counts_as_the_same_answer(was, now, is_same):
    old, new = (Answer(ids=ids, scores=scores) for ids, scores in (was, now))
    assert questions.is_same(old, new, 1e-5) is is_same


# Of another version


def test_a_backup_of_a_newer_version_is_a_sentence(file, empty, tmp_path):
    def edit(known) -> None:
        known["migrations"]["gallery"] = "9999_flying_images"

    forged = archives.forge(file, tmp_path / "forged.tar", edit=edit)
    empty()
    refused(forged, r"does not know \(gallery.9999_flying_images\)")


def test_tables_that_do_not_fit_are_a_sentence(file, empty, tmp_path):
    def edit(known) -> None:
        next(one for one in known["tables"] if one["name"] == "gallery_tag")["columns"].pop()

    forged = archives.forge(file, tmp_path / "forged.tar", edit=edit)
    empty()
    refused(forged, "table gallery_tag has other columns")


@pytest.mark.parametrize("table", ["django_migrations", "pg_authid", "embeddings_feed"])
def test_no_other_table_is_written(file, empty, tmp_path, table):
    def edit(known) -> None:
        known["tables"].append(
            {"name": table, "format": "text", "columns": [], "rows": 0, "parts": []}
        )

    forged = archives.forge(file, tmp_path / "forged.tar", edit=edit)
    empty()
    refused(forged, f"has a table {table}, which is not there")


def test_rows_that_the_database_refuses_are_a_sentence_and_leave_nothing(file, empty, tmp_path):
    def change(name, content):
        if name.startswith("database/gallery_image_tags"):
            content = b"1\t99999\t99999\n"  # of an image that is not there
        return name, content

    forged = archives.forge(file, tmp_path / "forged.tar", change)
    empty()
    refused(forged, "has rows of gallery_image_tags that the database refuses")
    with reading.opened(file) as backup:
        assert backup.manifest.rows_of("gallery_image_tags") == 2


def test_fewer_rows_than_the_manifest_says_are_a_sentence(file, empty, tmp_path):
    def edit(known) -> None:
        next(one for one in known["tables"] if one["name"] == "gallery_tag")["rows"] += 1

    forged = archives.forge(file, tmp_path / "forged.tar", edit=edit)
    empty()
    refused(forged, "says that gallery_tag has 3 rows; it has 2")
