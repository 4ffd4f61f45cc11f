from __future__ import annotations

import io
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from django.db import connection, transaction

from gallery import removal
from gallery.ingest import NewImage, add_image
from gallery.models import Caption, Image, ImageEmbedding, ImageEmbeddingJob, Tag, Video
from gallery.removal import delete_images
from tests.images import make_images
from tests.rows import make_images as make_rows
from tests.rows import make_space, make_user, make_vectors, store
from tests.workers import wait_until


def add(width: int = 60) -> Image:
    file = io.BytesIO(make_images.sound(width=width))
    new = NewImage(file=file, owner=make_user(), tags=("boat",), captions=(("coco", "a boat"),))
    return add_image(new)[0]


def files(settings):
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_an_image_goes_with_all_that_hangs_on_it(transactional_db, settings):
    space = make_space()
    gone, kept = add(60), add(70)
    store(np.array([gone.pk, kept.pk]), make_vectors(2), space)
    assert delete_images(Image.objects.filter(pk=gone.pk)) == 1
    for model in (Caption, ImageEmbedding, ImageEmbeddingJob):
        assert list(model.objects.values_list("image", flat=True)) == [kept.pk]
    assert Tag.objects.get().images.get() == kept
    assert len(files(settings)) == 3
    assert all(str(kept.uuid) in path.name for path in files(settings))


def test_a_rollback_loses_neither_row_nor_file(transactional_db, settings):
    add()

    def delete_and_fail() -> None:
        with transaction.atomic():
            delete_images(Image.objects.all())
            raise RuntimeError("something later fails")

    with pytest.raises(RuntimeError):
        delete_and_fail()
    assert Image.objects.count() == 1
    assert len(files(settings)) == 3


def test_missing_files_are_no_error(transactional_db, settings):
    add()
    shutil.rmtree(settings.MEDIA_ROOT)
    assert delete_images(Image.objects.all()) == 1
    assert not Image.objects.exists()


def test_a_file_that_resists_is_logged_and_the_others_go(transactional_db, settings, caplog):
    image = add()
    path = Path(image.file.path)
    path.unlink()
    path.mkdir()  # a folder in its place cannot be removed as a file
    (path / "content").write_text("x")
    assert delete_images(Image.objects.all()) == 1
    assert [file.name for file in files(settings)] == ["content"]
    assert image.file.name in caplog.text


def test_large_sets_go_in_batches(transactional_db):
    make_rows(removal._BATCH * 2 + 5)
    assert delete_images(Image.objects.all()) == removal._BATCH * 2 + 5
    assert not Image.objects.exists()


def test_a_sliced_or_joined_queryset_is_deleted_once(transactional_db):
    image = add()
    image.tags.add(Tag.objects.create(name="box"))
    add(70)
    assert delete_images(Image.objects.filter(pk=image.pk, tags__name__startswith="bo")) == 1
    assert delete_images(Image.objects.all()[:1]) == 1


def test_nothing_is_deleted_of_nothing(db):
    assert delete_images(Image.objects.none()) == 0


# Two who delete frames of the same videos at once


def make_video(n: int) -> Video:
    return Video.objects.create(
        uuid=uuid.UUID(int=n), owner=make_user(), sha256=f"{n:064x}", mime_type="video/mp4",
        width=1, height=1, bytes=1, seconds=9, visibility="public",
    )  # fmt: skip


def make_frame(video: Video, seconds: float) -> int:
    (frame,) = make_rows(1, video=video, video_seconds=seconds, visibility="private")
    return int(frame)


def delete(*ids: int) -> int:
    try:
        return delete_images(Image.objects.filter(pk__in=ids))
    finally:
        connection.close()


def somebody_waits_for_us() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks "
            "WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


def is_free(row: Image | Video) -> bool:
    same = type(row)._default_manager.filter(pk=row.pk)
    return bool(same.select_for_update(skip_locked=True).values_list("pk", flat=True))


def test_videos_are_locked_in_one_order_whatever_was_hidden_in_them(transactional_db):
    # By its identifier, and by where its row lies once an indexed value has changed, the first
    # comes second.
    first, second = make_video(2), make_video(1)
    Video.objects.filter(pk=first.pk).update(sha256="f" * 64)
    frames = [make_frame(video, 0) for video in (first, second)]
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Video.objects.select_for_update().get(pk=first.pk)
            deleting = pool.submit(delete, *frames)
            wait_until(somebody_waits_for_us)
            assert is_free(second)
        assert deleting.result(timeout=60) == 2
    assert not Video.objects.exists()


def test_all_images_are_locked_before_their_videos(transactional_db, monkeypatch):
    monkeypatch.setattr(removal, "_BATCH", 1)
    video = make_video(1)
    frames = [make_frame(video, seconds) for seconds in (0, 1)]
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Video.objects.select_for_update().get(pk=video.pk)
            deleting = pool.submit(delete, *frames)
            wait_until(somebody_waits_for_us)
            assert not is_free(Image.objects.get(pk=frames[1]))
        assert deleting.result(timeout=60) == 2
    assert not Video.objects.exists()
