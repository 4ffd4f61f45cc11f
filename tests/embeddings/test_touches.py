from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from embeddings import feed, touches
from gallery.models import Image, ImageEmbedding, Tag
from tests.rows import make_images

pytestmark = pytest.mark.django_db(transaction=True)

IMAGE = ("gallery_image",)


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def is_untouched(since: touches.TouchPosition, tables: tuple[str, ...] = IMAGE) -> bool:
    return touches.position_since(tables, since)[1]


def count_rows() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM embeddings_touch")
        return int(cursor.fetchone()[0])


def test_every_table_that_the_gallery_filters_by_is_watched():
    tables = sorted(touches.watched_tables())
    assert {"gallery_image", "gallery_image_tags", "gallery_tag", "gallery_album"} <= set(tables)
    assert touches.position(tables) is not None


def test_a_table_that_nobody_named_cannot_be_judged():
    assert touches.position(("gallery_image", "gallery_apitoken")) is None
    assert touches.position(("no_such_table",)) is None


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO gallery_tag (name) VALUES ('new')",
        "UPDATE gallery_tag SET name = name || '!'",
        "DELETE FROM gallery_tag",
        "TRUNCATE gallery_tag CASCADE",
    ],
    ids=lambda statement: statement.split()[0],
)
def test_it_sees_writes_of_every_kind(statement):
    Tag.objects.create(name="old")
    start = touches.position(("gallery_tag",))
    assert is_untouched(start, ("gallery_tag",))
    run(statement)
    assert not is_untouched(start, ("gallery_tag",))
    assert is_untouched(touches.position(("gallery_tag",)), ("gallery_tag",))


def test_it_sees_copy_and_cascades():
    start = touches.position(("gallery_tag",))
    with connection.cursor() as cursor, cursor.copy("COPY gallery_tag (name) FROM STDIN") as rows:
        rows.write_row(("copied",))
    assert not is_untouched(start, ("gallery_tag",))

    (image,) = make_images(1).tolist()
    Image.objects.get(pk=image).tags.add(Tag.objects.get())
    start = touches.position(("gallery_image_tags",))
    Image.objects.filter(pk=image).delete()
    assert not is_untouched(start, ("gallery_image_tags",))


def test_a_transaction_that_commits_late_is_not_missed():
    ids = make_images(1).tolist()
    wrote, may_commit = threading.Event(), threading.Event()

    def write_slowly():
        with transaction.atomic():
            Image.objects.filter(pk__in=ids).update(category="late")
            wrote.set()
            may_commit.wait(60)
        connection.close()

    slow = threading.Thread(target=write_slowly)
    slow.start()
    wrote.wait(60)
    start = touches.position(IMAGE)
    make_images(1)  # begins later, commits first
    here, untouched = touches.position_since(IMAGE, start)
    assert not untouched
    assert is_untouched(here)
    may_commit.set()
    slow.join()
    assert not is_untouched(here)


def test_what_is_rolled_back_leaves_no_touch():
    start = touches.position(IMAGE)
    with transaction.atomic():
        make_images(1)
        transaction.set_rollback(True)
    assert is_untouched(start)


def test_a_write_after_a_savepoint_that_was_rolled_back_is_seen():
    make_images(1)
    start = touches.position(IMAGE)
    with transaction.atomic():
        with transaction.atomic():
            Image.objects.update(category="undone")
            transaction.set_rollback(True)
        Image.objects.update(category="done")
    assert not is_untouched(start)


def test_a_transaction_leaves_one_row_a_table():
    make_images(3)
    before = count_rows()
    with transaction.atomic():
        for number in range(5):
            Image.objects.update(category=str(number))
    assert count_rows() == before + 1


def test_an_older_snapshot_does_not_trust_what_a_newer_one_saw():
    make_images(1)
    seen, may_go_on = threading.Event(), threading.Event()
    answers = []

    def look_back():
        with transaction.atomic():
            run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            run("SELECT 1")
            seen.set()
            may_go_on.wait(60)
            answers.append(is_untouched(newer))
        connection.close()

    reader = threading.Thread(target=look_back)
    reader.start()
    seen.wait(60)
    Image.objects.update(category="changed since")
    newer = touches.position(IMAGE)
    may_go_on.set()
    reader.join()
    assert answers == [False]
    assert is_untouched(newer)


def test_a_table_that_was_unwatched_for_a_while_is_another_one():
    start = touches.position(IMAGE)
    run("ALTER TABLE gallery_image DISABLE TRIGGER embeddings_touch")
    assert touches.position(IMAGE) is None
    run("ALTER TABLE gallery_image ENABLE ALWAYS TRIGGER embeddings_touch")
    assert not is_untouched(start)

    start = touches.position(IMAGE)
    run("DROP TRIGGER embeddings_touch ON gallery_image")
    assert touches.position(IMAGE) is None
    feed.install_all()
    assert not is_untouched(start)


def test_a_column_that_is_written_anew_is_noticed():
    make_images(1)
    start = touches.position(IMAGE)
    change = "ALTER TABLE gallery_image ALTER COLUMN width TYPE {} USING width + 1"
    run(change.format("bigint"))
    try:
        assert not is_untouched(start)
    finally:
        run(change.format("integer"))


def test_a_session_that_reads_dates_or_texts_otherwise_is_another_one():
    start = touches.position(IMAGE)
    for change in (
        "SET TIME ZONE 'Asia/Tokyo'",
        "SET default_text_search_config = 'pg_catalog.danish'",
    ):
        try:
            run(change)
            assert not is_untouched(start), change
        finally:
            connection.close()
    assert is_untouched(start)


def test_a_crash_of_the_server_makes_older_positions_void():
    """It gives numbers of transactions anew. Its trace: the statistics begin anew, as here."""
    make_images(1)
    since, in_feed = touches.position(IMAGE), feed.position(ImageEmbedding)
    run("SELECT pg_stat_reset_shared('bgwriter')")
    assert not is_untouched(since)
    assert feed.position(ImageEmbedding).identity != in_feed.identity


def test_installing_twice_changes_nothing():
    start = touches.position(IMAGE)
    feed.install_all()
    assert is_untouched(start)


def test_row_security_cannot_be_judged():
    try:
        run("ALTER TABLE gallery_tag ENABLE ROW LEVEL SECURITY")
        assert touches.position(("gallery_tag",)) is None
    finally:
        run("ALTER TABLE gallery_tag DISABLE ROW LEVEL SECURITY")


def test_pruning_tells_whoever_has_not_seen_what_goes(monkeypatch):
    monkeypatch.setattr(touches, "MANY", 3)
    start = touches.position(IMAGE)
    for number in range(3):
        Image.objects.update(category=str(number))
    after = touches.position(IMAGE)
    assert touches.prune(timedelta(hours=1)) == 0
    assert is_untouched(after)
    assert touches.prune(timedelta(0)) >= 3
    assert not is_untouched(start)
    assert not is_untouched(after)  # one row stands for all that is gone
    here = touches.position(IMAGE)
    assert touches.prune(timedelta(0)) == 0  # few are left alone
    assert is_untouched(here)


def test_rows_of_the_future_came_with_a_restore_and_go():
    run("INSERT INTO embeddings_touch SELECT 'gallery_image'::regclass, '9000000000'")
    here = touches.position(IMAGE)
    assert not is_untouched(here)
    touches.prune(timedelta(hours=1))
    assert is_untouched(touches.position(IMAGE))


def test_a_position_of_the_future_is_refused():
    here = touches.position(IMAGE)
    future = touches.TouchPosition(here.identity, "9000000000:9000000000:")
    assert not is_untouched(future)
    assert not is_untouched(touches.TouchPosition("another server", here.snapshot))
