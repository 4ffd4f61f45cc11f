from __future__ import annotations

import io
import threading
import time
from collections import Counter

import numpy as np
import onnxruntime
import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from PIL import Image as PillowImage
from tokenizers import Tokenizer

from embeddings import live
from embeddings.encoders import registry
from embeddings.encoders.sources import BUNDLED_FOLDER
from embeddings.errors import EncoderUnavailable
from gallery import spaces, tasks
from gallery.changes import change_record
from gallery.decoding import decoders
from gallery.decoding.processes import DecodersUnavailable
from gallery.ingest import NewImage, add_image
from gallery.models import (
    CaptionEmbedding,
    CaptionEmbeddingJob,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    State,
)
from gallery.overlap import Encoded
from gallery.pipeline import (
    add_missing,
    embed_waiting,
    fail,
    mend_states,
    park_lost,
    reembed,
    store,
)
from gallery.query import Query, TextTerm
from gallery.removal import delete_images
from gallery.search import search
from gallery.storage.clients import BucketUnavailable
from gallery.subjects import CAPTIONS, IMAGES, Batch
from gallery.switching import steps
from scenes import compose, draw
from tests.encoders import make_encoder
from tests.rows import make_images, make_user
from tests.workers import Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

QUEUE = IMAGES.queue


@pytest.fixture(autouse=True)
def space():
    live.forget_all()
    return spaces.ensure()


@pytest.fixture
def start_worker(tmp_path):
    workers = []

    def start(**variables):
        worker = Worker(tmp_path / "worker.log", **variables)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop()


def add(seed: int, **given) -> Image:
    file = io.BytesIO()
    draw(compose(seed), size=(128, 96)).save(file, "PNG")
    given = {"original_name": f"{seed}.png"} | given
    return add_image(NewImage(file=file, owner=make_user(), **given))[0]


def states():
    return Counter(Image.objects.values_list("state", flat=True))


def embedded_once():
    """Every ready image has one vector, and every vector is of a ready image."""
    vectors = list(ImageEmbedding.objects.values_list("image_id", flat=True))
    ready = Image.objects.filter(state=State.READY).values_list("pk", flat=True)
    return sorted(vectors) == sorted(ready)


def end_leases(jobs: type[ImageEmbeddingJob | CaptionEmbeddingJob]) -> None:
    """A lease's time has passed since a worker was killed, which may have held some."""
    jobs.objects.filter(lease_until__gt=timezone.now()).update(lease_until=timezone.now())


def test_an_upload_goes_the_whole_way_through_a_real_worker(start_worker):
    worker = start_worker()
    images = [add(seed) for seed in range(5)]
    wait_until(lambda: states()[State.READY] == 5, worker=worker)
    assert embedded_once()
    assert not ImageEmbeddingJob.objects.exists()
    page = search(Query(terms=(TextTerm("a boat"),), k=10), make_user())
    assert {hit.image.pk for hit in page.hits} == {image.pk for image in images}

    # The worker is warm now: an upload is found soon, and not when somebody looks for what waits.
    started = time.monotonic()
    newest = add(99)
    wait_until(
        lambda: (
            newest.pk
            in {hit.image.pk for hit in search(Query(terms=(TextTerm("sea"),)), make_user()).hits}
        ),
        worker=worker,
    )
    assert time.monotonic() - started < 20


def test_a_worker_killed_in_the_middle_of_a_batch_loses_and_repeats_nothing(start_worker):
    images = [add(seed) for seed in range(60)]
    worker = start_worker(ENCODER_BATCH="8")
    tasks.wake()
    wait_until(lambda: ImageEmbedding.objects.count() >= 8, worker=worker)
    worker.kill()
    assert 0 < ImageEmbedding.objects.count() < len(images)
    end_leases(ImageEmbeddingJob)

    second = start_worker(ENCODER_BATCH="8")

    def is_done():
        tasks.wake()  # as beat does
        return states()[State.READY] == len(images)

    wait_until(is_done, worker=second)
    assert embedded_once()
    assert not ImageEmbeddingJob.objects.exists()


def test_captions_go_the_whole_way_through_a_real_worker(start_worker):
    worker = start_worker()
    image = add(1, caption="A red boat", captions=(("coco", "A boat on the sea"),))
    wait_until(lambda: CaptionEmbedding.objects.count() == 2, worker=worker)
    assert_embedded({"A red boat", "A boat on the sea"})

    change_record(image, caption="A yellow fish")
    wait_until(lambda: CaptionEmbedding.objects.count() == 2, worker=worker)
    assert_embedded({"A yellow fish", "A boat on the sea"})
    assert not CaptionEmbeddingJob.objects.exists()


def vector_by_text():
    rows = CaptionEmbedding.objects.values_list("caption__text", "vector")
    return {text: np.array(vector) for text, vector in rows}


def assert_embedded(texts):
    """Each text has its own vector, and no other text has one."""
    vectors = vector_by_text()
    assert vectors.keys() == texts
    for text, vector in vectors.items():
        (encoded,) = registry.load(spaces.active()).encode_texts([text])
        assert vector @ encoded == pytest.approx(1, abs=1e-3)


def test_a_worker_killed_in_the_middle_of_its_captions_loses_and_repeats_nothing(
    start_worker, space
):
    n = 3000
    make_images(n, caption="A red boat and a blue fish by the sea")
    worker = start_worker()
    tasks.wake()
    wait_until(lambda: CaptionEmbedding.objects.count() >= 64, worker=worker)
    worker.kill()
    assert 0 < CaptionEmbedding.objects.count() < n
    end_leases(CaptionEmbeddingJob)

    second = start_worker()

    def is_done():
        tasks.wake()  # as beat does
        return CaptionEmbedding.objects.count() == n

    wait_until(is_done, worker=second)
    assert not CaptionEmbeddingJob.objects.exists()
    with connection.cursor() as cursor:
        # The change feed has every write of a vector.
        cursor.execute(
            "SELECT count(*), count(DISTINCT subject_id) FROM embeddings_change"
            " JOIN embeddings_feed USING (table_id) WHERE table_name = %s AND space_id = %s",
            [CaptionEmbedding._meta.db_table, space.pk],
        )
        assert cursor.fetchone() == (n, n)


def test_a_text_that_breaks_the_encoder_is_parked_alone_with_its_reason(
    settings, space, monkeypatch
):
    break_by_word(monkeypatch, "yellow")
    image = add(1, caption="A red boat", captions=(("coco", "a yellow fish"), ("coco", "a boat")))
    for _ in range(settings.JOB_MAX_ATTEMPTS + 3):
        embed_waiting()
        CaptionEmbeddingJob.objects.update(not_before=None)
    assert vector_by_text().keys() == {"A red boat", "a boat"}
    job = CaptionEmbeddingJob.objects.get()
    assert (job.caption.text, job.attempts) == ("a yellow fish", settings.JOB_MAX_ATTEMPTS)
    assert job.failed_at
    assert job.last_error.startswith("The encoder failed: ")
    image.refresh_from_db()
    assert (image.state, image.failure) == (State.READY, "")


def break_by_word(monkeypatch, word: str) -> None:
    """Let ONNX Runtime refuse what has a word in it, as it refuses a token that a tower lacks."""
    tokenizer = Tokenizer.from_file(str(BUNDLED_FOLDER / "tokenizer.json"))
    token = tokenizer.token_to_id(word)
    run = onnxruntime.InferenceSession.run

    def refusing(session, names, inputs, *options):
        if (inputs["input_ids"] == token).any():
            raise InvalidArgument("indices element out of data bounds")
        return run(session, names, inputs, *options)

    assert token is not None
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", refusing)


def test_a_text_that_kills_every_worker_is_parked(settings):
    image = add(1, caption="A red boat")
    batches = iter([True])
    embed_waiting(goes_on=lambda: next(batches, False))  # the image
    CaptionEmbeddingJob.objects.update(
        attempts=settings.JOB_MAX_ATTEMPTS, lease_until="2020-01-01T00:00:00Z"
    )
    assert park_lost() == 1
    assert "died" in CaptionEmbeddingJob.objects.get().last_error
    assert Image.objects.get(pk=image.pk).state == State.READY


def test_images_are_embedded_before_captions(settings):
    settings.ENCODER_BATCH = 1
    for seed in range(2):
        add(seed, caption="A red boat", captions=(("coco", "a boat"),))
    assert embed_waiting() == 2 + 4
    last_image = ImageEmbedding.objects.latest("embedded_at").embedded_at
    assert last_image < CaptionEmbedding.objects.earliest("embedded_at").embedded_at


def test_a_caption_longer_than_the_encoder_reads_is_cut():
    add(1, caption=("A red boat. " * 1000)[:9_999])
    assert embed_waiting() == 2
    assert not CaptionEmbeddingJob.objects.exists()


def test_embedding_an_image_again_takes_its_captions_along():
    image, _other = (add(seed, caption="A red boat") for seed in range(2))
    embed_waiting()
    assert reembed(Image.objects.filter(pk=image.pk)) == 1
    jobs = CaptionEmbeddingJob.objects.values_list("caption__image", flat=True)
    assert list(jobs) == [image.pk]
    assert CaptionEmbedding.objects.count() == 2  # still found by the old ones
    assert embed_waiting() == 2


def test_a_corrupt_file_is_parked_with_its_reason_and_harms_no_neighbour():
    images = [add(seed) for seed in range(4)]
    with images[1].file.storage.open(images[1].file.name, "wb") as file:
        file.write(b"no longer an image")
    images[2].file.storage.delete(images[2].file.name)
    assert embed_waiting() == 2
    broken, lost = Image.objects.get(pk=images[1].pk), Image.objects.get(pk=images[2].pk)
    assert (broken.state, lost.state) == (State.FAILED, State.WAITING)
    assert "not an image" in broken.failure
    job = ImageEmbeddingJob.objects.get(image=lost)
    assert job.attempts == 1
    assert "cannot be read: No such file" in job.last_error
    assert embedded_once()


def test_a_storage_that_is_away_costs_no_image_its_tries(monkeypatch, settings):
    image = add(1)
    storage = Image._meta.get_field("file").storage

    def is_away(name, mode="rb"):
        raise BucketUnavailable("the bucket cannot be reached to give a file")

    for _ in range(settings.JOB_MAX_ATTEMPTS + 1):
        with monkeypatch.context() as away:
            away.setattr(storage, "open", is_away)
            assert embed_waiting() == 0
        job = ImageEmbeddingJob.objects.get(image=image)
        assert (job.attempts, job.failed_at) == (0, None)
        assert "cannot be reached" in job.last_error
        assert not IMAGES.queue.is_due(job.space)  # it waits
        ImageEmbeddingJob.objects.update(not_before=None)
    image.refresh_from_db()
    assert image.state == State.WAITING
    assert embed_waiting() == 1
    assert embedded_once()


def test_decoders_that_cannot_start_cost_no_image_its_tries(monkeypatch):
    add(1)

    def cannot_start(*args, **options):
        raise DecodersUnavailable("A process that decodes images ended as it began.")

    with monkeypatch.context() as broken:
        broken.setattr(decoders, "frame_stored", cannot_start)
        assert embed_waiting() == 0
    assert ImageEmbeddingJob.objects.get().attempts == 0
    ImageEmbeddingJob.objects.update(not_before=None)
    assert embed_waiting() == 1


def test_an_image_that_kills_every_worker_is_parked(settings):
    image = add(1)
    ImageEmbeddingJob.objects.update(
        attempts=settings.JOB_MAX_ATTEMPTS, lease_until="2020-01-01T00:00:00Z"
    )
    assert park_lost() == 1
    image.refresh_from_db()
    assert image.state == State.FAILED
    assert "died" in image.failure


def test_images_that_nobody_queued_are_found():
    add(1)
    make_images(3, state=State.WAITING)
    assert add_missing() == 3
    assert ImageEmbeddingJob.objects.count() == 4


def test_embedding_again_replaces_the_vector():
    image = add(1)
    embed_waiting()
    ImageEmbedding.objects.update(vector=[1.0] + [0.0] * (spaces.active().dimensions - 1))
    assert reembed(Image.objects.filter(pk=image.pk)) == 1
    assert embed_waiting() == 1
    assert ImageEmbedding.objects.get().vector[1:] != [0.0] * (spaces.active().dimensions - 1)
    assert embedded_once()


def test_an_image_of_one_pixel_and_one_very_long_are_embedded():
    for size in ((1, 1), (3000, 2), (2, 3000)):
        file = io.BytesIO()
        PillowImage.new("RGB", size, "teal").save(file, "PNG")
        add_image(NewImage(file=file, owner=make_user()))
    assert embed_waiting() == 3


def filling(tmp_path):
    return steps.fill(str(make_encoder("clip", tmp_path / "other")))


def test_a_new_upload_goes_before_the_refill_of_another_space(tmp_path, settings):
    settings.ENCODER_BATCH = 1
    for seed in range(3):
        add(seed)
    embed_waiting()
    QUEUE.add_missing(filling(tmp_path))
    batches = iter([True, True])
    newest = add(9)
    embed_waiting(goes_on=lambda: next(batches, False))
    assert Image.objects.get(pk=newest.pk).state == State.READY


def test_an_encoder_that_is_gone_holds_up_no_other_space(tmp_path, space):
    image = add(1)
    broken = filling(tmp_path)
    (tmp_path / "other" / "config.json").unlink()
    QUEUE.add_missing(broken)
    with pytest.raises(EncoderUnavailable):
        embed_waiting()
    assert Image.objects.get(pk=image.pk).state == State.READY
    (job,) = ImageEmbeddingJob.objects.all()
    assert (job.space, job.attempts) == (broken, 0)


def test_what_fails_in_a_filling_space_stays_searchable_in_the_active_one(tmp_path):
    image = add(1)
    embed_waiting()
    other = filling(tmp_path)
    QUEUE.add_missing(other)
    fail(Batch(IMAGES, QUEUE.claim(other, 1)), image.pk, "no good", is_final=True)
    assert Image.objects.get(pk=image.pk).state == State.READY


def test_an_upload_in_the_last_moment_of_a_switch_is_put_right(tmp_path):
    image = add(1)
    other = filling(tmp_path)
    QUEUE.add([image.pk], other)
    batch = Batch(IMAGES, QUEUE.claim(other, 1))
    read = IMAGES.reading(batch.lease.subjects, registry.load(other))()
    spaces.switch_to(other)
    store(Encoded(batch, read, read.encode))  # its space was still filling when it was claimed
    assert Image.objects.get(pk=image.pk).state == State.READY
    Image.objects.update(state=State.WAITING)
    assert mend_states() == 1


def test_jobs_of_a_retired_space_are_removed(tmp_path, space):
    image = add(1, caption="A red boat")
    spaces.switch_to(filling(tmp_path))
    steps.retire(space)
    QUEUE.add([image.pk], space)
    CAPTIONS.queue.add([image.captions.get().pk], space)
    mend_states()
    assert not ImageEmbeddingJob.objects.filter(space=space).exists()
    assert not CaptionEmbeddingJob.objects.filter(space=space).exists()


def test_failing_and_deleting_at_once_wait_for_each_other_and_do_not_deadlock(space):
    images = [add(seed) for seed in range(12)]
    errors = []

    def delete():
        try:
            for image in images:
                delete_images(Image.objects.filter(pk=image.pk))
        except OperationalError as error:
            errors.append(error)
        finally:
            connection.close()

    deleter = threading.Thread(target=delete)
    batch = Batch(IMAGES, QUEUE.claim(space, 12))
    deleter.start()
    for image in images:
        fail(batch, image.pk, "no good", is_final=True)
    deleter.join()
    assert errors == []
    assert not Image.objects.exists()
