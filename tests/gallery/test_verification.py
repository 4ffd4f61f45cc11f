from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from embeddings import live, snapshots
from embeddings.models import Space
from gallery import spaces
from gallery.models import (
    Caption,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    ImportItem,
    ImportRun,
    ItemState,
    RunState,
    State,
)
from gallery.pipeline import embed_waiting
from gallery.removal import delete_images
from gallery.verification import disagreements, of_runs
from tests.gallery.uploads import stored
from tests.rows import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def images():
    live.forget_all()
    spaces.ensure()
    made = [stored(seed, caption=f"number {seed}") for seed in range(3)]
    embed_waiting()
    return made


def found():
    return [(one.part, one.sentence) for one in disagreements()]


def only_one():
    (one,) = found()
    return one


def test_a_sound_gallery_agrees(images):
    assert found() == []
    out = io.StringIO()
    call_command("verify", "--hash", stdout=out)
    assert "All agree: 3 images, of which 0 wait" in out.getvalue()


def test_what_waits_or_is_parked_with_its_reason_agrees(images):
    stored(8)
    parked = stored(9)
    reason = "The file is cut short or damaged."
    parked.jobs.update(failed_at=timezone.now(), last_error=reason)
    Image.objects.filter(pk=parked.pk).update(state=State.FAILED, failure=reason)
    assert found() == []


def test_a_deleted_image_leaves_nothing_that_disagrees(images):
    delete_images(Image.objects.filter(pk=images[0].pk))
    assert found() == []


def test_a_lost_file_is_found(images):
    default_storage.delete(images[0].thumbnail_small.name)
    part, sentence = only_one()
    assert part == "files"
    assert images[0].thumbnail_small.name in sentence


def test_other_bytes_of_the_same_length_are_found_by_their_hash(images):
    name = images[0].file.name
    with default_storage.open(name, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert found() == []
    assert [one.part for one in disagreements(hashes=True)] == ["files"]


def test_an_image_with_neither_vector_nor_job_is_found(images):
    ImageEmbedding.objects.filter(image=images[0]).delete()
    parts = dict(found())
    assert parts.keys() == {"vectors", "states"}
    assert parts["vectors"].startswith("1 images have neither a vector in ")
    assert str(images[0].pk) in parts["vectors"]


def test_a_caption_that_nobody_queued_is_found(images):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM gallery_captionembedding")
    part, sentence = only_one()
    assert part == "vectors"
    assert sentence.startswith(f"{Caption.objects.count()} captions have neither")


def test_a_vector_of_another_width_is_found(images):
    ImageEmbedding.objects.filter(image=images[0]).update(vector=[1.0, 0.0])
    assert any("dimensions" in sentence for part, sentence in found() if part == "vectors")


def test_a_state_that_is_not_so_is_found(images):
    Image.objects.filter(pk=images[0].pk).update(state=State.WAITING)
    Image.objects.filter(pk=images[1].pk).update(state=State.FAILED, failure="why not")
    assert [part for part, _ in found()] == ["states", "states"]


def test_jobs_that_nobody_can_work_on_are_found(images):
    job = ImageEmbeddingJob(image=images[0], space=spaces.active(), failed_at=timezone.now())
    job.save()
    assert only_one() == ("jobs", f"1 embedding jobs are parked without a reason: {job.pk}.")
    retired = Space.objects.create(
        name="old", revision="1", dimensions=4, state=Space.State.RETIRED
    )
    ImageEmbeddingJob.objects.update(failed_at=None, space=retired)
    assert "no longer in use" in only_one()[1]


def test_an_index_that_missed_a_change_is_found(images):
    snapshots.build(ImageEmbedding, spaces.active())
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM gallery_imageembedding WHERE image_id = %s", [images[0].pk])
        cursor.execute("DELETE FROM embeddings_change")
    part_by_sentence = {sentence: part for part, sentence in found()}
    (sentence,) = [one for one, part in part_by_sentence.items() if part == "index"]
    assert "lacks 0 vectors and has 1 that are gone" in sentence


def test_a_ledger_that_does_not_say_what_became_of_an_item_is_found(images):
    run = ImportRun.objects.create(
        owner=make_user(), source="folder", place="p", title="t", state=RunState.DONE,
        is_listed=True,
    )  # fmt: skip
    ImportItem.objects.create(run=run, key="a", name="a", state=ItemState.FAILED)
    ImportItem.objects.create(run=run, key="b", name="b", state=ItemState.WAITING)
    ImportItem.objects.create(run=run, key="c", name="c", state=ItemState.NEW, image=images[0])
    assert [part for part, _ in found()] == ["imports", "imports"]
    run.items.exclude(key="c").delete()
    assert found() == []


@pytest.mark.parametrize(
    ("state", "is_unattended", "minutes", "is_found"),
    [
        (RunState.RUNNING, False, 1, True),
        (RunState.RUNNING, True, 1, False),
        (RunState.RUNNING, True, 20, True),
        (RunState.UNDOING, False, 1, False),
        (RunState.UNDOING, False, 20, True),
        (RunState.PAUSED, True, 20, False),
    ],
    ids=[
        "its command died",
        "between two turns of the worker",
        "the worker does not come",
        "between two turns of undoing",
        "the worker does not come to undo it",
        "nobody is to work on it",
    ],
)
def test_a_run_that_nobody_works_on_is_found(state, is_unattended, minutes, is_found):
    ended = timezone.now() - timedelta(minutes=minutes)
    ImportRun.objects.create(
        owner=make_user(), source="folder", place="p", title="t", state=state,
        is_unattended=is_unattended, lease_until=ended,
    )  # fmt: skip
    sentences = [one.sentence for one in of_runs()]
    assert any("nobody works on them" in sentence for sentence in sentences) == is_found


def test_a_run_that_was_never_begun_and_is_not_undone_either_is_found():
    run = ImportRun.objects.create(
        owner=make_user(), source="folder", place="p", title="t", state=RunState.UNDOING
    )
    assert list(of_runs()) == []
    ImportRun.objects.update(created_at=timezone.now() - timedelta(minutes=20))
    (one,) = of_runs()
    assert (one.part, str(run.pk) in one.sentence) == ("imports", True)


def test_the_command_tells_programs_too_and_ends_with_status_1(images):
    ImageEmbedding.objects.filter(image=images[0]).delete()
    out = io.StringIO()
    with pytest.raises(CommandError) as error:
        call_command("verify", "--json", stdout=out)
    assert error.value.returncode == 1
    *told, sums = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {one["part"] for one in told} == {"vectors", "states"}
    assert all(one["sentence"].endswith(".") and one["advice"].endswith(".") for one in told)
    assert sums == {"images": 3, "waiting": 0, "parked": 0, "disagreements": len(told)}
