from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from embeddings import jobs
from embeddings.errors import VectorInvalid
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob
from gallery.removal import delete_images
from gallery.subjects import IMAGES
from tests.rows import make_images, make_space, make_vectors

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE = IMAGES.queue


@pytest.fixture
def space():
    return make_space()


def queue(n, space):
    ids = make_images(n)
    QUEUE.add(ids.tolist(), space)
    return ids.tolist()


def let_leases_expire():
    past = timezone.now() - timedelta(seconds=1)
    ImageEmbeddingJob.objects.exclude(lease_until=None).update(lease_until=past)
    ImageEmbeddingJob.objects.update(not_before=None)


def test_a_batch_is_claimed_once(space):
    ids = queue(5, space)
    first, second = QUEUE.claim(space, 3), QUEUE.claim(space, 3)
    assert first.subjects + second.subjects == tuple(ids)
    assert QUEUE.claim(space, 3) is None


def test_many_workers_never_claim_the_same_job(space):
    ids = queue(200, space)
    claimed = []

    def work():
        while lease := QUEUE.claim(space, 7):
            claimed.extend(lease.subjects)
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(claimed) == ids


def test_finishing_writes_the_vectors_and_ends_the_jobs(space):
    ids = queue(3, space)
    lease = QUEUE.claim(space, 3)
    assert sorted(QUEUE.finish(lease, ids, make_vectors(3))) == ids
    assert ImageEmbedding.objects.filter(space=space).count() == 3
    assert not ImageEmbeddingJob.objects.exists()


def test_a_second_finish_of_the_same_lease_does_nothing(space):
    ids = queue(2, space)
    lease = QUEUE.claim(space, 2)
    QUEUE.finish(lease, ids, make_vectors(2))
    assert QUEUE.finish(lease, ids, make_vectors(2, seed=1)) == []


def test_who_lost_the_lease_writes_nothing(space):
    ids = queue(1, space)
    slow = QUEUE.claim(space, 1)
    let_leases_expire()
    quick = QUEUE.claim(space, 1)
    assert QUEUE.finish(slow, ids, make_vectors(1)) == []
    assert QUEUE.finish(quick, ids, make_vectors(1)) == ids


def test_an_image_deleted_meanwhile_gets_no_vector(space):
    ids = queue(2, space)
    lease = QUEUE.claim(space, 2)
    Image.objects.filter(pk=ids[0]).delete()
    assert QUEUE.finish(lease, ids, make_vectors(2)) == ids[1:]


@pytest.mark.parametrize("bad", [np.zeros((1, 16)), np.full((1, 16), np.nan), np.ones((1, 8))])
def test_a_bad_vector_is_not_written(space, bad):
    ids = queue(1, space)
    lease = QUEUE.claim(space, 1)
    with pytest.raises(VectorInvalid):
        QUEUE.finish(lease, ids, bad.astype(np.float32))
    assert ImageEmbeddingJob.objects.count() == 1


@pytest.mark.parametrize("field", ["lease_until", "not_before"])
def test_a_job_does_not_wait_for_the_hour_by_which_the_clock_was_set_back(space, field):
    ids = queue(2, space)
    QUEUE.claim(space, 2)
    let_leases_expire()
    later = timezone.now() + timedelta(seconds=jobs.BACK_OFF_SECONDS)
    ImageEmbeddingJob.objects.update(**{field: later})
    assert QUEUE.claim(space, 2) is None
    assert not QUEUE.is_due(space)
    ImageEmbeddingJob.objects.update(**{field: later + timedelta(hours=1)})
    assert QUEUE.is_due(space)
    claimed = [QUEUE.claim(space, 2).subjects for _ in ids]
    assert sorted(claimed) == [(id_,) for id_ in ids]


def test_what_killed_its_worker_each_time_is_parked_though_the_clock_was_set_back(space, settings):
    ids = queue(1, space)
    QUEUE.claim(space, 1)
    ahead = timezone.now() + timedelta(hours=1)
    ImageEmbeddingJob.objects.update(attempts=settings.JOB_MAX_ATTEMPTS, lease_until=ahead)
    assert QUEUE.park_lost() == ids


def test_after_a_death_each_image_comes_back_alone(space):
    queue(4, space)
    QUEUE.claim(space, 4)
    assert QUEUE.claim(space, 4) is None
    let_leases_expire()
    assert len(QUEUE.claim(space, 4).subjects) == 1


def test_an_image_that_keeps_killing_its_worker_is_parked(space, settings):
    (image_id,) = queue(1, space)
    for _ in range(settings.JOB_MAX_ATTEMPTS):
        assert QUEUE.park_lost() == []
        assert QUEUE.claim(space, 1).subjects == (image_id,)
        let_leases_expire()
    assert QUEUE.park_lost() == [image_id]
    assert QUEUE.claim(space, 1) is None
    assert "died" in ImageEmbeddingJob.objects.get().last_error


def test_a_failed_job_waits_and_is_parked_at_last(space, settings):
    (image_id,) = queue(1, space)
    for attempt in range(1, settings.JOB_MAX_ATTEMPTS + 1):
        is_parked = QUEUE.fail(QUEUE.claim(space, 1), image_id, "no good")
        assert is_parked == (attempt == settings.JOB_MAX_ATTEMPTS)
        assert QUEUE.claim(space, 1) is None
        let_leases_expire()


def test_a_parked_job_is_tried_again_when_asked(space):
    (image_id,) = queue(1, space)
    QUEUE.fail(QUEUE.claim(space, 1), image_id, "no good", is_final=True)
    assert jobs.retry(ImageEmbeddingJob.objects.all()) == 1
    assert QUEUE.claim(space, 1).subjects == (image_id,)


def test_what_is_given_back_counts_as_not_tried(space):
    queue(3, space)
    QUEUE.give_back(QUEUE.claim(space, 3))
    assert len(QUEUE.claim(space, 3).subjects) == 3


def test_images_with_neither_vector_nor_job_are_found(space):
    queued, forgotten = queue(1, space), make_images(2).tolist()
    assert QUEUE.add_missing(space) == 2
    assert QUEUE.add_missing(space) == 0
    lease = QUEUE.claim(space, 10)
    assert lease.subjects == tuple(sorted(queued + forgotten))


def test_deleting_images_while_their_vectors_are_written_harms_neither(space):
    ids = queue(60, space)
    errors = []

    def delete():
        try:
            for start in range(0, 60, 10):
                delete_images(Image.objects.filter(pk__in=ids[start : start + 5]))
        except OperationalError as error:
            errors.append(error)
        finally:
            connection.close()

    deleter = threading.Thread(target=delete)
    deleter.start()
    while lease := QUEUE.claim(space, 10):
        QUEUE.finish(lease, lease.subjects, make_vectors(len(lease.subjects)))
    deleter.join()
    assert errors == []
    left = list(Image.objects.order_by("pk").values_list("pk", flat=True))
    assert len(left) == 30
    embedded = ImageEmbedding.objects.order_by("image_id").values_list("image_id", flat=True)
    assert list(embedded) == left


def test_one_death_does_not_park_what_has_failed_often_and_may_be_tried_on(space, settings):
    (image_id,) = queue(1, space)
    for _ in range(settings.JOB_MAX_ATTEMPTS + 1):
        QUEUE.fail(QUEUE.claim(space, 1), image_id, "Input/output error", tries=10)
        let_leases_expire()
    QUEUE.claim(space, 1)
    let_leases_expire()
    assert QUEUE.park_lost(tries_of_failed=10) == []
    ImageEmbeddingJob.objects.update(attempts=10)
    assert QUEUE.park_lost(tries_of_failed=10) == [image_id]
    assert ImageEmbeddingJob.objects.get().last_error == (
        "Its worker died while it was embedded, at try 10. Before: Input/output error"
    )
