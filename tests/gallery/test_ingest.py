from __future__ import annotations

import hashlib
import io
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import connection, connections
from PIL import Image as PillowImage
from PIL.ExifTags import GPS, IFD, Base

from embeddings.models import Space
from gallery import tasks
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.ingest import NewImage, add_image
from gallery.models import Album, Image, ImageEmbeddingJob, State, Tag
from tests.images import make_images
from tests.rows import make_space, make_user

THREADS = 6


def new(content=None, **fields):
    file = io.BytesIO(make_images.sound() if content is None else content)
    return NewImage(**({"file": file, "owner": make_user()} | fields))


def stored_files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_an_image_is_stored_with_its_record(db, settings):
    exif = PillowImage.Exif()
    exif.update({Base.Make: "Canon", Base.Model: "EOS", Base.Orientation: 6})
    exif[IFD.Exif] = {Base.DateTimeOriginal: "2021:07:01 12:30:00"}
    exif[IFD.GPSInfo] = {
        GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 51.0, 0.0),
        GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (2.0, 21.0, 0.0),
    }  # fmt: skip
    content = make_images.sound(exif=exif.tobytes())
    image, is_new = add_image(
        new(
            content,
            original_name="../Ferien/Boot.JPG",
            caption=" A red boat. ",
            tags=("Boat", "sea", "boat"),
            album="Summer",
            category="holiday",
            metadata={"rating": 5},
            source_url="https://example.org/boat",
            licence="CC BY 4.0",
            attribution="Ann",
            visibility="private",
            captions=(("coco", "a boat"), ("coco", "a boat"), ("coco", "one boat")),
        )
    )
    assert is_new
    image.refresh_from_db()
    assert image.sha256 == hashlib.sha256(content).hexdigest()
    assert (image.original_name, image.mime_type) == ("Boot.JPG", "image/jpeg")
    assert (image.width, image.height, image.bytes) == (40, 60, len(content))
    assert image.taken_at == datetime(2021, 7, 1, 12, 30, tzinfo=UTC)
    assert image.camera == "Canon EOS"
    assert image.latitude == pytest.approx(48.85)
    assert image.longitude == pytest.approx(2.35)
    assert image.colours[0].keys() == {"hex", "share"}
    assert image.caption == "A red boat."
    assert [tag.name for tag in image.tags.all()] == ["boat", "sea"]
    assert image.album == Album.objects.get(name="Summer", owner=image.owner)
    assert image.metadata == {"rating": 5}
    assert (image.visibility, image.state) == ("private", State.WAITING)
    assert [caption.text for caption in image.captions.further()] == ["a boat", "one boat"]


def test_its_three_files_have_names_of_our_own(db, settings):
    content = make_images.sound("PNG", width=2000, height=1000)
    image, _ = add_image(new(content, original_name="evil.php"))
    place = f"{image.uuid.hex[:2]}/{image.uuid}"
    assert stored_files(settings.MEDIA_ROOT) == [
        f"images/{place}.png",
        f"thumbnails/{place}-1024.webp",
        f"thumbnails/{place}-256.webp",
    ]
    with image.file.open("rb") as file:
        assert file.read() == content
    for field, size in ((image.thumbnail_small, (256, 128)), (image.thumbnail_large, (1024, 512))):
        with field.open("rb") as file, PillowImage.open(file) as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("WEBP", size)


def test_the_same_bytes_give_back_their_own_record_unchanged(db, settings):
    first, _ = add_image(new(caption="first"))
    files = stored_files(settings.MEDIA_ROOT)
    again, is_new = add_image(new(caption="second", tags=("other",)))
    assert (again.pk, again.caption, is_new) == (first.pk, "first", False)
    assert not again.tags.exists()
    assert stored_files(settings.MEDIA_ROOT) == files


def test_another_owner_of_the_same_bytes_has_an_own_record(db):
    first, _ = add_image(new())
    other, is_new = add_image(new(owner=make_user("ben")))
    assert is_new
    assert other.pk != first.pk
    assert other.file.name != first.file.name


def test_an_image_waits_in_every_space_that_is_in_use(db, django_capture_on_commit_callbacks):
    active = make_space()
    filling = make_space(state=Space.State.FILLING)
    make_space(state=Space.State.RETIRED)
    image, _ = add_image(new())
    jobs = ImageEmbeddingJob.objects.filter(image=image)
    assert set(jobs.values_list("space", flat=True)) == {active.pk, filling.pk}


def test_a_worker_is_woken_after_the_commit(db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        add_image(new())
        add_image(new())
    assert [callback.__name__ for callback in callbacks] == ["pop_all", "wake"]


def test_what_the_sender_says_of_the_time_goes_before_exif(db):
    exif = PillowImage.Exif()
    exif[IFD.Exif] = {Base.DateTimeOriginal: "2021:07:01 12:30:00"}
    said = datetime(1999, 1, 1, tzinfo=UTC)
    image, _ = add_image(new(make_images.sound(exif=exif.tobytes()), taken_at=said))
    assert image.taken_at == said


@pytest.mark.parametrize("kind", make_images.FORMATS)
def test_every_format_can_be_added(db, kind):
    image, _ = add_image(new(make_images.sound(kind)))
    assert (image.width, image.height) == (60, 40)


@pytest.mark.parametrize(
    "fields",
    [
        {"caption": "x" * 10_001},
        {"caption": "a\x00b"},
        {"caption": "lone \ud800"},
        {"tags": ("x" * 101,)},
        {"tags": tuple(f"tag {number}" for number in range(51))},
        {"album": "x" * 201},
        {"category": "x" * 101},
        {"licence": "x" * 201},
        {"attribution": "x" * 501},
        {"metadata": {"a": "\x00"}},
        {"metadata": {"a": float("inf")}},
        {"metadata": {"a": "x" * 100_001}},
        {"source_url": "javascript:alert(1)"},
        {"visibility": "secret"},
        {"captions": (("coco", "x" * 10_001),)},
        {"captions": (("coco", "x"),) * 21},
        {"captions": ((" ", "a boat"),)},
    ],
)
def test_texts_that_cannot_be_kept_are_refused_and_nothing_is_stored(db, settings, fields):
    with pytest.raises(ImageRefused, match=r"^[A-Z].*\.$"):
        add_image(new(**fields))
    assert not Image.objects.exists()
    assert stored_files(settings.MEDIA_ROOT) == []


@pytest.mark.parametrize("name", [*make_images.NOT_TAKEN, *make_images.DAMAGED])
def test_nothing_is_stored_of_a_refused_file(db, settings, name):
    content = (make_images.NOT_TAKEN | make_images.DAMAGED)[name]()
    with pytest.raises(ImageRefused):
        add_image(new(content, original_name=name))
    assert not Image.objects.exists()
    assert stored_files(settings.MEDIA_ROOT) == []


def words(count: int) -> str:
    return " ".join(f"wörd{number}" for number in range(count))


def test_the_longest_texts_of_all_fit(db):
    image, _ = add_image(
        new(
            caption=words(2000)[:9_999],
            metadata={str(number): f"välue{number}" for number in range(4000)},
            tags=tuple(f"täg {number} ".ljust(99, "ä") for number in range(50)),
            captions=tuple((f"source {number}", words(250)[number:]) for number in range(20)),
        )
    )
    assert image.captions.further().count() == 20


def test_a_further_caption_may_be_as_long_as_the_first(db):
    image, _ = add_image(new(captions=(("catalogue", words(2000)[:9_999]),)))
    assert image.captions.count() == 1


def test_no_files_stay_behind_when_the_database_refuses(transactional_db, settings):
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE gallery_imageembeddingjob ADD CONSTRAINT no_jobs CHECK (image_id < 0)"
        )
    try:
        make_space()
        with pytest.raises(Exception, match="no_jobs"):
            add_image(new(tags=("boat",), album="Summer"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE gallery_imageembeddingjob DROP CONSTRAINT no_jobs")
    assert stored_files(settings.MEDIA_ROOT) == []
    assert not Image.objects.exists()
    assert not Tag.objects.exists()
    assert not Album.objects.exists()


def test_no_files_stay_behind_when_the_disk_fails(transactional_db, settings):
    # The folder of the thumbnails cannot be made: a file has its name.
    Path(settings.MEDIA_ROOT).mkdir(parents=True)
    (Path(settings.MEDIA_ROOT) / "thumbnails").write_text("in the way")
    with pytest.raises(StorageUnavailable, match="cannot be stored") as raised:
        add_image(new())
    assert str(settings.MEDIA_ROOT) not in str(raised.value)
    assert stored_files(settings.MEDIA_ROOT) == ["thumbnails"]
    assert not Image.objects.exists()


def test_a_worker_that_cannot_be_woken_takes_no_files_away(
    transactional_db, settings, monkeypatch, caplog
):
    def wake():
        raise RuntimeError("nobody expects this")

    monkeypatch.setattr(tasks, "wake", wake)
    assert add_image(new()).is_new
    assert len(stored_files(settings.MEDIA_ROOT)) == 3
    assert "nobody expects this" in caplog.text


def test_who_stops_the_process_after_the_commit_takes_no_files_away(
    transactional_db, settings, monkeypatch
):
    def wake():
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "wake", wake)
    with pytest.raises(KeyboardInterrupt):
        add_image(new())
    assert Image.objects.exists()
    assert len(stored_files(settings.MEDIA_ROOT)) == 3


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_files_stay_where_a_stop_may_have_come_in_the_middle_of_the_commit(
    transactional_db, settings, stop
):
    def note(_):
        raise stop

    with pytest.raises(stop):
        add_image(new(), note=note)
    assert len(stored_files(settings.MEDIA_ROOT)) == 3


def in_threads(calls):
    """Run all calls at the same moment and return what each gave."""
    barrier = threading.Barrier(len(calls))
    outcomes = [None] * len(calls)

    def run(index):
        barrier.wait()
        try:
            outcomes[index] = calls[index]()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[index]) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_the_same_bytes_at_the_same_moment_make_one_record_and_three_files(
    transactional_db, settings
):
    make_space()
    content = make_images.sound(width=900, height=700)
    images = [new(content, tags=("b", "a"), album="Race") for _ in range(THREADS)]
    outcomes = in_threads([lambda image=image: add_image(image) for image in images])
    assert len({image.pk for image, _ in outcomes}) == 1
    assert sum(is_new for _, is_new in outcomes) == 1
    assert Image.objects.count() == ImageEmbeddingJob.objects.count() == 1
    image = Image.objects.get()
    assert len(stored_files(settings.MEDIA_ROOT)) == 3
    for field in (image.file, image.thumbnail_small, image.thumbnail_large):
        assert field.storage.exists(field.name)


def test_different_images_at_the_same_moment_share_new_tags_and_albums(transactional_db):
    make_space()
    tags = [f"tag {number}" for number in range(20)]
    images = [
        new(
            make_images.sound(width=60 + number),
            tags=tuple(reversed(tags)) if number % 2 else tuple(tags),
            album="Race",
        )
        for number in range(THREADS)
    ]
    outcomes = in_threads([lambda image=image: add_image(image) for image in images])
    assert all(is_new for _, is_new in outcomes)
    assert Album.objects.count() == 1
    assert Tag.objects.count() == 20
    assert {image.tags.count() for image, _ in outcomes} == {20}
