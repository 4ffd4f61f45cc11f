from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from functools import partial

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from embeddings.models import Space
from gallery import pipeline
from gallery.changes import change_record
from gallery.models import Caption, CaptionEmbedding, CaptionEmbeddingJob, Image
from gallery.removal import delete_images
from gallery.subjects import CAPTIONS
from tests.gallery.uploads import stored
from tests.rows import make_images, make_space, make_user, make_vectors

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def space():
    return make_space()


def captioned(caption="A red boat", **fields) -> Image:
    (image_id,) = make_images(1, caption=caption, **fields)
    return Image.objects.get(pk=image_id)


def further(image: Image, text="Ein Boot", source="catalogue") -> Caption:
    return Caption.objects.create(image=image, text=text, source=source)


def own(image: Image) -> list[str]:
    return list(Caption.objects.filter(image=image, source="").values_list("text", flat=True))


def sql(statement: str, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def embed_all(space) -> None:
    """Give every caption that waits in the space a vector."""
    while lease := CAPTIONS.queue.claim(space, 100):
        CAPTIONS.queue.finish(lease, lease.subjects, make_vectors(len(lease.subjects)))


def embedded() -> set[int]:
    return set(CaptionEmbedding.objects.values_list("caption_id", flat=True))


def queued() -> set[int]:
    return set(CaptionEmbeddingJob.objects.values_list("caption_id", flat=True))


def in_threads(*calls):
    """Run all calls at the same moment; return the database's errors."""
    barrier = threading.Barrier(len(calls))
    errors = []

    def run(call):
        barrier.wait()
        try:
            call()
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


# The own caption


def test_whoever_writes_an_image_its_caption_is_a_row_too():
    image = captioned("A red boat")
    assert own(image) == ["A red boat"]
    image.caption = "By save"
    image.save()
    assert own(image) == ["By save"]
    Image.objects.filter(pk=image.pk).update(caption="By update")
    assert own(image) == ["By update"]
    sql("UPDATE gallery_image SET caption = 'By SQL' WHERE id = %s", image.pk)
    assert own(image) == ["By SQL"]
    change_record(image, caption="By an edit")
    assert own(image) == ["By an edit"]


@pytest.mark.parametrize("blank", ["", " \n\t"])
def test_a_blank_caption_is_no_row(space, blank):
    assert own(captioned(blank)) == []
    image = captioned("A red boat")
    embed_all(space)
    Image.objects.filter(pk=image.pk).update(caption=blank)
    assert own(image) == []
    assert not queued() | embedded()
    Image.objects.filter(pk=image.pk).update(caption="Again")
    assert own(image) == ["Again"]


@pytest.mark.slow
def test_captions_from_before_the_migration_are_taken_over(space):
    first, second = captioned("A red boat"), captioned("")
    further(second, "Ein Boot", "coco")
    try:
        call_command("migrate", "gallery", "0003_captions_and_saved_searches", verbosity=0)
        for source, text in (("", "one"), ("", "two"), ("unknown", "two")):
            sql(
                "INSERT INTO gallery_caption (image_id, source, text, added_at)"
                " VALUES (%s, %s, %s, now())",
                *(first.pk, source, text),
            )
    finally:
        # The command, and not only its migrations: it puts triggers on the tables made anew.
        call_command("migrate", "gallery", verbosity=0)
    assert set(first.captions.values_list("source", "text")) == {
        *(("", "A red boat"), ("unknown", "one"), ("unknown", "two")),
    }
    assert list(second.captions.values_list("source", "text")) == [("coco", "Ein Boot")]
    first.refresh_from_db()
    assert sorted(first.full_text.split()) == ["'boat':3A", "'one':4A", "'red':2A", "'two':5A"]
    pipeline.add_missing()
    assert CaptionEmbeddingJob.objects.count() == Caption.objects.count() == 4


def test_an_image_has_one_own_caption_at_most():
    image = captioned()
    with pytest.raises(IntegrityError, match="caption_own_once"):
        further(image, "Another", source="")


def test_full_text_counts_the_own_caption_once_and_further_ones_as_well():
    image = captioned("lighthouse")
    caption = further(image, "schooner")
    image.refresh_from_db()
    assert sorted(image.full_text.split()) == ["'lighthous':1A", "'schooner':2A"]
    Image.objects.filter(pk=image.pk).update(caption="harbour")
    Caption.objects.filter(pk=caption.pk).update(text="ferry")
    image.refresh_from_db()
    assert sorted(image.full_text.split()) == ["'ferri':2A", "'harbour':1A"]
    caption.delete()
    image.refresh_from_db()
    assert image.full_text == "'harbour':1A"


def test_further_captions_are_shown_without_the_own_one():
    image = stored(1, caption="A red boat", captions=(("coco", "A ship"),))
    assert [caption.text for caption in image.captions.further()] == ["A ship"]
    record = Client().get(f"/api/v1/images/{image.uuid}").json()
    assert record["captions"] == [{"text": "A ship", "source": "coco"}]
    page = Client().get(image.get_absolute_url()).content.decode()
    assert re.findall(r"Caption \((.*?)\)", page) == ["coco"]
    root = Client()
    root.force_login(make_user("root", is_staff=True, is_superuser=True))
    page = root.get(f"/admin/gallery/image/{image.pk}/change/").content.decode()
    assert 'name="captions-0-text"' in page
    assert 'name="captions-1-text"' not in page


# Jobs and vectors


def test_a_new_caption_waits_in_every_space_that_is_in_use(space):
    filling = make_space(state=Space.State.FILLING)
    make_space(state=Space.State.RETIRED)
    image = captioned()
    sql(
        "INSERT INTO gallery_caption (image_id, source, text, added_at)"
        " VALUES (%s, 'sql', 'Ein Boot', now())",
        image.pk,
    )
    jobs = set(CaptionEmbeddingJob.objects.values_list("caption__text", "space"))
    texts = ("A red boat", "Ein Boot")
    assert jobs == {(text, pk) for text in texts for pk in (space.pk, filling.pk)}


def test_captions_from_before_a_space_are_found(space):
    other = make_space(state=Space.State.RETIRED)
    image = captioned()
    further(image)
    Space.objects.filter(pk=other.pk).update(state=Space.State.FILLING)
    assert pipeline.add_missing() == 2 + 2  # the image in both spaces, captions in the other
    assert CaptionEmbeddingJob.objects.filter(space=other).count() == 2
    assert pipeline.add_missing() == 0


@pytest.mark.parametrize("source", ["", "catalogue"])
def test_a_changed_text_loses_its_vector_at_once_and_waits_anew(space, source):
    image = captioned()
    further(image)
    embed_all(space)
    changed = Caption.objects.get(image=image, source=source)
    others = embedded() - {changed.pk}
    if source:
        sql("UPDATE gallery_caption SET text = 'New' WHERE id = %s", changed.pk)
    else:
        sql("UPDATE gallery_image SET caption = 'New' WHERE id = %s", image.pk)
    assert (embedded(), queued()) == (others, {changed.pk})
    assert Caption.objects.get(pk=changed.pk).text == "New"


def test_a_rolled_back_edit_keeps_the_vector(space):
    image = captioned()
    embed_all(space)
    with transaction.atomic():
        Image.objects.filter(pk=image.pk).update(caption="New")
        assert not embedded()
        transaction.set_rollback(True)
    assert (own(image), len(embedded()), queued()) == (["A red boat"], 1, set())


def test_what_leaves_the_text_as_it_is_keeps_the_vector(space):
    image = captioned()
    caption = further(image)
    embed_all(space)
    before = set(CaptionEmbedding.objects.values_list("pk", flat=True))
    change_record(image, caption="A red boat", tags=("sea", "red"), album="Summer")
    Image.objects.update(visibility="private", state="failed")
    Caption.objects.filter(pk=caption.pk).update(source="elsewhere", text="Ein Boot")
    assert set(CaptionEmbedding.objects.values_list("pk", flat=True)) == before
    assert not queued()


def test_a_parked_caption_is_tried_again_when_its_text_is_changed(space):
    image = captioned()
    CaptionEmbeddingJob.objects.update(attempts=3, failed_at=timezone.now(), last_error="no good")
    Image.objects.filter(pk=image.pk).update(caption="A better text")
    job = CaptionEmbeddingJob.objects.get()
    assert (job.attempts, job.failed_at, job.last_error) == (0, None, "")


@pytest.mark.parametrize("is_embedded", [True, False])
def test_with_an_image_all_of_its_captions_go(space, is_embedded):
    gone, stays = captioned(), captioned()
    for image in (gone, stays):
        further(image)
    if is_embedded:
        embed_all(space)
    delete_images(Image.objects.filter(pk=gone.pk))
    left = set(Caption.objects.values_list("pk", flat=True))
    assert left == set(stays.captions.values_list("pk", flat=True))
    assert (embedded() if is_embedded else queued()) == left
    stays.delete()
    assert not Caption.objects.exists()
    assert not embedded() | queued()


def test_a_caption_can_be_deleted_by_sql(space):
    caption = further(captioned(""))
    embed_all(space)
    CAPTIONS.queue.add([caption.pk], space)  # embedded, and queued again
    sql("DELETE FROM gallery_caption WHERE id = %s", caption.pk)
    assert not embedded() | queued()


def test_two_images_with_one_text_have_a_vector_each(space):
    first, second = captioned("The same"), captioned("The same")
    embed_all(space)
    images = CaptionEmbedding.objects.values_list("caption__image", flat=True)
    assert sorted(images) == [first.pk, second.pk]


def test_caption_jobs_are_listed_and_tried_again(space, django_assert_max_num_queries):
    make_images(50, caption="A boat")
    parked = CaptionEmbeddingJob.objects.latest("pk")
    parked.failed_at, parked.last_error = timezone.now(), "The encoder failed: too long"
    parked.save()
    root = Client()
    root.force_login(make_user("root", is_staff=True, is_superuser=True))
    table = "/admin/gallery/captionembeddingjob/"
    with django_assert_max_num_queries(7):
        page = root.get(table).content.decode()
    assert "A boat" in page
    assert "The encoder failed: too long" in page
    answer = root.get(table, {"status": "parked"})
    assert list(answer.context["cl"].result_list) == [parked]
    root.post(table, {"action": "retry", "_selected_action": [parked.pk]})
    assert CaptionEmbeddingJob.objects.get(pk=parked.pk).failed_at is None


# At once


def test_what_was_encoded_of_an_older_text_is_not_written(space):
    image = captioned("Old")
    lease = CAPTIONS.queue.claim(space, 1)
    Image.objects.filter(pk=image.pk).update(caption="New")
    assert CAPTIONS.queue.finish(lease, lease.subjects, make_vectors(1)) == []
    assert not CAPTIONS.queue.fail(lease, lease.subjects[0], "no good", is_final=True)
    assert not embedded()
    embed_all(space)
    assert len(embedded()) == 1


def test_an_edit_while_the_vector_is_being_written_removes_it(space):
    image = captioned("Old")
    lease = CAPTIONS.queue.claim(space, 1)
    editor = threading.Thread(
        target=lambda: (
            Image.objects.filter(pk=image.pk).update(caption="New"),
            connection.close(),
        )
    )
    with transaction.atomic():
        assert CAPTIONS.queue.finish(lease, lease.subjects, make_vectors(1))
        editor.start()
        editor.join(timeout=0.5)
        assert editor.is_alive()  # it waits for us, and then finds the vector
    editor.join()
    assert own(image) == ["New"]
    assert not embedded()
    assert queued() == set(lease.subjects)


def test_a_caption_that_somebody_is_editing_holds_up_no_other(space):
    edited, other = captioned("Old"), captioned("Other")
    lease = CAPTIONS.queue.claim(space, 2)
    begun, done = threading.Event(), threading.Event()

    def edit():
        with transaction.atomic():
            Image.objects.filter(pk=edited.pk).update(caption="New")
            begun.set()
            done.wait(timeout=60)
        connection.close()

    editor = threading.Thread(target=edit)
    editor.start()
    begun.wait(timeout=60)
    written = CAPTIONS.queue.finish(lease, lease.subjects, make_vectors(2))
    assert editor.is_alive()  # we did not wait for it
    done.set()
    editor.join()
    assert written == list(other.captions.values_list("pk", flat=True))
    assert queued() == set(edited.captions.values_list("pk", flat=True))


def test_two_edits_of_one_caption_at_once_leave_one_row_and_one_job(space):
    image = captioned("Old")
    embed_all(space)
    for round_ in range(10):
        texts = [f"{round_} by {who}" for who in "ab"]
        edits = (partial(change_record, image, caption=text) for text in texts)
        assert in_threads(*edits) == []
        image.refresh_from_db()
        assert image.caption in texts
        assert own(image) == [image.caption]
        assert CaptionEmbeddingJob.objects.count() == 1
        assert not embedded()
        embed_all(space)


class Writers:
    """Every way in which the gallery writes captions and their jobs, on few images."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.ids = make_images(30, caption="A boat").tolist()

    def work(self, chance):
        if lease := CAPTIONS.queue.claim(self.space, 10):
            CAPTIONS.queue.extend(lease)
            if chance.random() < 0.2:
                CAPTIONS.queue.give_back(lease)
            else:
                CAPTIONS.queue.finish(lease, lease.subjects, make_vectors(len(lease.subjects)))

    def edit(self, chance):
        text = chance.choice(("", f"Text {chance.random()}"))
        Image.objects.filter(pk=chance.choice(self.ids)).update(caption=text)

    @transaction.atomic
    def edit_further(self, chance):
        """As the admin does it: the image first."""
        image_id = chance.choice(self.ids)
        if not Image.objects.filter(pk=image_id).update(changed_at=timezone.now()):
            return
        captions = Caption.objects.filter(image=image_id).further()
        if chance.random() < 0.5:
            captions.delete()
            Caption.objects.create(image_id=image_id, source="a", text="Anew")
        else:
            captions.update(text=f"Text {chance.random()}")

    def embed_again(self, chance):
        pipeline.reembed(Image.objects.filter(pk__in=chance.sample(self.ids, 10)))

    def reconcile(self, chance):
        pipeline.park_lost()
        pipeline.mend_states()
        pipeline.add_missing()

    def replace(self, chance):
        delete_images(Image.objects.filter(pk__in=chance.sample(self.ids, 2)))
        self.ids.extend(make_images(2, caption="A boat").tolist())


@pytest.mark.slow
def test_all_who_write_captions_at_once_do_not_deadlock(space):
    writers = Writers(space)
    end = time.monotonic() + 4
    rounds = Counter()

    def repeat(step):
        chance = random.Random(step.__name__)
        while time.monotonic() < end or rounds[step.__name__] <= 5:  # on a slow machine, too
            step(chance)
            rounds[step.__name__] += 1

    steps = (
        *(writers.work, writers.work, writers.edit, writers.edit_further),
        *(writers.embed_again, writers.reconcile, writers.replace),
    )
    assert in_threads(*(partial(repeat, step) for step in steps)) == []
    assert min(rounds[step.__name__] for step in steps) > 5, rounds

    past = timezone.now() - timezone.timedelta(seconds=1)
    CaptionEmbeddingJob.objects.update(lease_until=past, failed_at=None, attempts=0)
    embed_all(space)
    assert embedded() == set(Caption.objects.values_list("pk", flat=True))
    mirrored = Caption.objects.filter(source="").values_list("image", "text")
    assert dict(mirrored) == dict(Image.objects.exclude(caption="").values_list("pk", "caption"))
