"""Filling, pausing, switching, going back, retiring: what is promised of each."""

from __future__ import annotations

import shutil
import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection
from django.utils import timezone

from embeddings import feed, live, retirement, snapshots
from embeddings.encoders.sources import BUNDLED_FOLDER
from embeddings.errors import EncoderUnavailable
from embeddings.models import QuerySample, Snapshot, Space
from embeddings.tasks import build_due_snapshots, remove_retired
from gallery import pipeline, spaces, tasks, verification
from gallery.errors import SearchExpired, SpaceRefused
from gallery.models import (
    CaptionEmbedding,
    CaptionEmbeddingJob,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    State,
)
from gallery.query import Query, TextTerm
from gallery.search import search, turn
from gallery.switching import records, steps
from gallery.switching.progress import lack_of, note_filled, progress
from tests.encoders import make_encoder
from tests.gallery.switching.conftest import fill_all, forget_encoders
from tests.rows import make_space, make_user

pytestmark = pytest.mark.django_db(transaction=True)

BOAT = Query(terms=(TextTerm("a boat"),), k=2)


def count_of(space, kind="images"):
    (found,) = [count for count in progress(space).counts if count.kind == kind]
    return found


def switch(space, **given):
    return steps.switch(space, seen=spaces.active(), **given)


def test_filling_changes_nothing_for_searches(images, old, folder):
    space = steps.fill(str(folder))
    assert space.state == Space.State.FILLING
    assert spaces.active() == old
    assert search(BOAT, make_user()).encoder == "bundled"
    fill_all()
    assert search(BOAT, make_user()).encoder == "bundled"


def test_progress_counts_images_and_captions(images, folder):
    space = steps.fill(str(folder))
    begun = count_of(space)
    assert (begun.total, begun.done, begun.left, begun.per_second) == (5, 0, 5, 0)
    assert records.state_of(space, progress(space)) == "filling"
    fill_all()
    filled = count_of(space)
    assert (filled.done, filled.left) == (5, 0)
    assert filled.per_second > 0
    assert count_of(space, "captions").done == 5
    assert progress(space).seconds_left is None
    assert records.state_of(space, progress(space)) == "filled"


def test_what_cannot_be_embedded_is_counted_as_failed(new):
    image = Image.objects.first()
    ImageEmbedding.objects.filter(space=new, image=image).delete()
    ImageEmbeddingJob.objects.create(
        space=new, image=image, attempts=3, failed_at=timezone.now(), last_error="Broken."
    )
    found = count_of(new)
    assert (found.done, found.failed, found.left) == (4, 1, 0)
    assert note_filled(new)  # it will not be any fuller
    # It is found now, and would not be found any more.
    assert "1 image that is found now has no vector" in lack_of(new).sentence(new)
    with pytest.raises(SpaceRefused, match="1 image that is found now"):
        switch(new)


def test_a_second_space_beside_the_active_one_is_the_last(new, tmp_path):
    with pytest.raises(SpaceRefused, match="retire that one first"):
        steps.fill(str(shutil.copytree(BUNDLED_FOLDER, tmp_path / "bundled")))
    assert Space.objects.count() == 2


def test_to_fill_what_is_filled_or_active_is_no_change(new, old, folder):
    assert steps.fill(str(folder)) == new
    assert steps.fill("bundled") == old
    assert spaces.active() == old


def test_two_who_fill_different_encoders_at_once_make_one_space(images, folder, tmp_path):
    others = [str(folder), str(shutil.copytree(BUNDLED_FOLDER, tmp_path / "bundled"))]
    made = at_once(*[lambda name=name: steps.fill(name) for name in others])
    assert sum(isinstance(one, SpaceRefused) for one in made) == 1
    assert Space.objects.filter(state=Space.State.FILLING).count() == 1


def test_a_paused_space_gets_nothing_until_it_is_resumed(images, folder, add):
    space = steps.fill(str(folder))
    steps.pause(space)
    add(9)
    fill_all()
    assert count_of(space).done == 0
    assert not pipeline.is_due()
    assert ImageEmbedding.objects.filter(space=spaces.active()).count() == 6
    assert records.state_of(space, progress(space)) == "paused"
    with pytest.raises(SpaceRefused, match="Resume it and wait until it is filled"):
        switch(space)
    steps.resume(space)
    fill_all()
    assert count_of(space).done == 6


def test_pausing_and_resuming_twice_is_no_error_and_the_active_one_is_not_paused(new, old):
    for do in (steps.pause, steps.pause, steps.resume, steps.resume):
        do(new)
    assert not new.is_paused
    with pytest.raises(SpaceRefused, match="is the active space"):
        steps.pause(old)
    with pytest.raises(IntegrityError):
        Space.objects.filter(pk=old.pk).update(is_paused=True)


def test_a_switch_changes_the_encoder_of_the_next_search(new, old):
    done = switch(new)
    assert (done.now, done.before) == (new, old)
    page = search(BOAT, make_user())
    assert page.encoder == "other"
    assert page.search_id
    assert list(verification.of_states()) == []


def test_a_switch_is_refused_while_something_would_be_lost(images, folder, old):
    space = steps.fill(str(folder))
    with pytest.raises(SpaceRefused, match="5 images and 5 captions that are found now have no"):
        switch(space)
    assert spaces.active() == old


def test_a_partial_switch_says_what_is_missing_until_it_is_embedded(images, folder):
    space = steps.fill(str(folder))
    pipeline.add_missing()
    done = switch(space, partly=True)
    assert done.lack.count_by_kind == {"images": 5, "captions": 5}
    assert set(Image.objects.values_list("state", flat=True)) == {State.WAITING}
    fill_all()
    assert set(Image.objects.values_list("state", flat=True)) == {State.READY}
    assert list(verification.of_states()) == []


def test_what_many_images_say_of_their_vector_follows_a_switch(images, folder, monkeypatch):
    monkeypatch.setattr(spaces, "SHOWN_AT_ONCE", 2)
    space = steps.fill(str(folder))
    switch(space, partly=True)
    assert Image.objects.filter(state=State.WAITING).count() == 2
    tasks.reconcile()
    assert Image.objects.filter(state=State.WAITING).count() == 5
    assert list(verification.of_states()) == []
    space.refresh_from_db()
    assert space.is_shown


def test_an_image_that_failed_in_the_new_space_says_why_after_a_partial_switch(new):
    image = Image.objects.first()
    ImageEmbedding.objects.filter(space=new, image=image).delete()
    ImageEmbeddingJob.objects.create(
        space=new, image=image, attempts=3, failed_at=timezone.now(), last_error="Broken."
    )
    switch(new, partly=True)
    image.refresh_from_db()
    assert (image.state, image.failure) == (State.FAILED, "Broken.")
    steps.switch(steps.former(), seen=new)
    image.refresh_from_db()
    assert (image.state, image.failure) == (State.READY, "")


def test_what_no_space_has_a_vector_of_holds_up_no_switch(new, add):
    add(9)  # waits in both
    switch(new)
    assert Image.objects.filter(state=State.WAITING).count() == 1


def test_after_a_switch_new_images_get_vectors_in_both_and_the_way_back_is_open(new, old, add):
    switch(new)
    add(9, caption="Another one")
    fill_all()
    for space in (old, new):
        assert ImageEmbedding.objects.filter(space=space).count() == 6
        assert CaptionEmbedding.objects.filter(space=space).count() == 6
    assert steps.former() == old
    switch(steps.former())
    assert spaces.active() == old
    assert steps.former() == new
    assert search(BOAT, make_user()).encoder == "bundled"


def test_a_paused_former_space_that_is_gone_back_to_goes_on(new, old):
    switch(new)
    old.refresh_from_db()
    steps.pause(old)
    switch(old)
    old.refresh_from_db()
    assert not old.is_paused


def test_of_two_who_switch_at_once_one_wins_and_the_other_is_told(new, old):
    made = at_once(*[lambda: steps.switch(new, seen=old)] * 2)
    (refused,) = [one for one in made if isinstance(one, SpaceRefused)]
    assert "is the active space already" in str(refused)
    assert spaces.active() == new


def test_of_who_switches_to_a_space_and_who_retires_it_at_once_one_is_told(new, old):
    made = at_once(lambda: steps.switch(new, seen=old), lambda: steps.retire(new))
    assert sum(isinstance(one, SpaceRefused) for one in made) == 1
    new.refresh_from_db()
    assert (spaces.active(), new.state) in [
        (new, Space.State.ACTIVE), (old, Space.State.RETIRED),
    ]  # fmt: skip


def test_who_has_seen_another_active_space_does_not_switch(new, old):
    switch(new)
    # On a page that was opened before, the button of the old one says "go back".
    with pytest.raises(SpaceRefused, match="Somebody else has switched meanwhile"):
        steps.switch(old, seen=old)
    assert spaces.active() == new


def test_a_space_whose_encoder_is_gone_is_not_switched_to(images, old, tmp_path):
    gone = make_encoder("clip", tmp_path / "gone" / "other")
    space = steps.fill(str(gone))
    fill_all()
    shutil.rmtree(gone)
    forget_encoders()
    with pytest.raises(EncoderUnavailable, match="no encoder folder"):
        switch(space, partly=True)
    assert spaces.active() == old


def test_an_encoder_that_is_gone_is_told_and_holds_up_no_other(images, old, tmp_path, add):
    gone = make_encoder("clip", tmp_path / "gone" / "other")
    space = steps.fill(str(gone))
    shutil.move(gone, tmp_path / "away")
    forget_encoders()
    add(9)
    pipeline.add_missing()
    with pytest.raises(EncoderUnavailable):
        pipeline.embed_waiting()
    space.refresh_from_db()
    assert "no encoder folder" in records.notice_of(space, progress(space))
    assert ImageEmbedding.objects.filter(space=old).count() == 6
    shutil.move(tmp_path / "away", gone)
    forget_encoders()
    fill_all()
    space.refresh_from_db()
    assert space.trouble == ""
    assert count_of(space).done == 6


def test_what_was_wrong_is_not_told_where_nothing_is_left_to_be_embedded(new, alive, add):
    spaces.note_trouble(new, "The folder is away.")
    new.refresh_from_db()
    assert records.notice_of(new, progress(new)) == ""
    add(9)
    assert records.notice_of(new, progress(new)) == "The folder is away."
    steps.fill(new.name)  # by somebody who has mended it
    new.refresh_from_db()
    assert records.notice_of(new, progress(new)) == ""


def test_a_switch_to_a_retired_space_is_refused(new):
    steps.retire(new)
    with pytest.raises(SpaceRefused, match="Fill it again first"):
        switch(new, partly=True)


def test_the_active_space_is_not_retired(old):
    with pytest.raises(SpaceRefused, match="Switch to another one first"):
        steps.retire(old)


def test_a_retired_space_is_removed_with_all_that_is_its(new, old):
    for model in feed.vector_tables():
        snapshots.build(model, new)
    ImageEmbeddingJob.objects.create(space=new, image=Image.objects.first())
    QuerySample.objects.create(space=new, vector=[1.0] * new.dimensions)
    folders = [snapshots.root_folder(model, new) for model in feed.vector_tables()]
    assert all(folder.exists() for folder in folders)
    live.index_of(ImageEmbedding, new).refresh()

    steps.retire(new)
    assert remove_retired() == 0  # searches that have begun in it come to their end
    assert ImageEmbedding.objects.filter(space=new).exists()
    retired_long_ago(new)
    assert remove_retired() == 1

    assert not Space.objects.filter(pk=new.pk).exists()
    for model in (ImageEmbedding, CaptionEmbedding, ImageEmbeddingJob, CaptionEmbeddingJob):
        assert not model.objects.filter(space_id=new.pk).exists()
    assert not Snapshot.objects.filter(space_id=new.pk).exists()
    assert not any(folder.exists() for folder in folders)
    live.refresh_all()
    assert (ImageEmbedding._meta.db_table, new.pk) not in live._indexes
    assert ImageEmbedding.objects.filter(space=old).count() == 5
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM embeddings_change WHERE space_id = %s", [new.pk])
        assert cursor.fetchone() == (0,)


def test_removing_goes_on_where_it_was_ended(new, monkeypatch):
    monkeypatch.setattr(retirement, "AT_ONCE", 2)
    steps.retire(new)
    retired_long_ago(new)
    (space,) = retirement.due()
    assert not retirement.remove(space, goes_on=lambda: False)
    assert 0 < ImageEmbedding.objects.filter(space=new).count() < 5 + 1
    assert retirement.remove(space)
    assert retirement.due() == []


def test_a_retired_space_that_is_filled_again_keeps_what_is_left(new, folder, monkeypatch):
    monkeypatch.setattr(retirement, "AT_ONCE", 2)
    snapshot = snapshots.build(ImageEmbedding, new)
    steps.retire(new)
    retired_long_ago(new)
    (space,) = retirement.due()
    retirement.remove(space, goes_on=lambda: CaptionEmbedding.objects.filter(space=new).exists())
    assert steps.fill(str(folder)) == new
    left = count_of(new).done
    assert not retirement.remove(space)
    assert count_of(new).done == left
    assert snapshots.newest_snapshot(ImageEmbedding, new) == snapshot
    assert len(snapshots.open_snapshot(snapshot).index) == 5
    fill_all()
    assert not lack_of(new)


def test_a_retired_space_stays_while_an_index_of_it_is_built(new):
    steps.retire(new)
    builder = connection.copy()
    with builder.cursor() as cursor:
        of_images = f"{ImageEmbedding._meta.db_table}:{new.pk}"
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 7))", [of_images])
        assert not retirement.remove(new)
    assert Space.objects.filter(pk=new.pk).exists()
    builder.close()
    assert retirement.remove(new)


def test_the_pages_of_a_search_stay_in_its_space_and_expire_with_it(new, old):
    first, another = search(BOAT, make_user()), search(BOAT, make_user())
    switch(new)
    second = turn(first.search_id, make_user(), number=2)
    assert second.encoder == "bundled"
    old.refresh_from_db()
    steps.retire(old)
    with pytest.raises(SearchExpired):
        turn(another.search_id, make_user(), number=2)


def test_it_is_kept_since_when_a_space_is_filled(images, folder):
    space = steps.fill(str(folder))
    assert not note_filled(space)
    fill_all()
    tasks.reconcile()
    space.refresh_from_db()
    assert timezone.now() - space.filled_at < timedelta(minutes=1)


def test_an_index_is_built_of_a_space_when_it_is_filled_and_not_while(images, folder):
    space = steps.fill(str(folder))
    fill_all()
    build_due_snapshots()
    assert not Snapshot.objects.filter(space=space).exists()
    tasks.reconcile()
    build_due_snapshots()
    assert Snapshot.objects.filter(space=space).count() == len(feed.vector_tables())


def test_a_space_is_found_by_number_name_title_and_revision(new, folder):
    for written in (str(new.pk), str(folder), "other", new.revision[:10], str(new)):
        assert steps.find(written) == new
    for written in ("", "elsewhere", "999999999999999999999"):
        with pytest.raises(SpaceRefused, match="Say its number"):
            steps.find(written)


def test_a_space_that_was_retired_before_there_was_removing_is_left_alone():
    space = make_space(state=Space.State.RETIRED)
    assert remove_retired() == 0
    assert records.state_of(space, progress(space)) == "retired"


def retired_long_ago(space):
    since = timezone.now() - timedelta(seconds=retirement.GRACE_SECONDS + 1)
    Space.objects.filter(pk=space.pk).update(retired_at=since)


def at_once(*calls):
    """Make the calls in threads, and return what each gave or raised."""
    made = []

    def run(call):
        try:
            made.append(call())
        except (SpaceRefused, DatabaseError) as error:
            made.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made
