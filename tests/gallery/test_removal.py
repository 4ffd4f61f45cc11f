from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from django.db import transaction

from gallery import removal
from gallery.ingest import NewImage, add_image
from gallery.models import Caption, Image, ImageEmbedding, ImageEmbeddingJob, Tag
from gallery.removal import delete_images
from tests.images import make_images
from tests.rows import make_images as make_rows
from tests.rows import make_space, make_user, make_vectors, store


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
