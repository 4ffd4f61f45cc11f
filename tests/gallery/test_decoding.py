from __future__ import annotations

import errno
import gzip
import io
import os
import signal
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from PIL import Image as PillowImage

from embeddings.encoders import registry
from gallery import inspection, patience, spaces, tasks, thumbnails
from gallery.decoding import decoders, messages
from gallery.decoding.messages import Message
from gallery.decoding.processes import DecoderDied, DecodersUnavailable
from gallery.errors import ImageRefused
from gallery.ingest import NewImage, add_image
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob, State
from gallery.pipeline import embed_waiting
from tests.images import make_images
from tests.rows import make_user
from tests.workers import ROOT, Worker, wait_until

FATAL = str(ROOT / "tests" / "fatal")


@pytest.fixture(autouse=True)
def own_processes():
    decoders.close()
    yield
    decoders.close()


@pytest.fixture
def fatal_images(monkeypatch):
    """Let images that `marked` makes be the death of whatever decodes them."""
    monkeypatch.setenv("PYTHONPATH", FATAL)


def marked(comment: str, seed: int = 0) -> io.BytesIO:
    file = io.BytesIO()
    PillowImage.new("RGB", (64, 48), (8 * seed, 90, 0)).save(file, "JPEG", comment=comment.encode())
    return file


def added(file, name=""):
    return add_image(NewImage(file=file, owner=make_user(), original_name=name)).image


def decode_processes(of: int | None = None):
    found = []
    for child in psutil.Process(of).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if "gallery.decoding.child" in child.cmdline():
                found.append(child)
    return found


def is_at(process: psutil.Process, file: Path) -> bool:
    """Whether a process has been given a file."""
    return str(file) in [opened.path for opened in process.open_files()]


def test_a_decode_process_finds_what_a_decoder_of_this_process_finds():
    content = make_images.sound(width=3000, height=2000)
    studied = decoders.study(io.BytesIO(content))
    inspected = inspection.open_image(io.BytesIO(content), edge=thumbnails.LARGE)
    assert (studied.width, studied.height, studied.frames) == (3000, 2000, 1)
    assert (studied.mime_type, studied.exif) == (inspected.mime_type, inspected.exif)
    assert studied.thumbnails[thumbnails.LARGE] == thumbnails.make(
        inspected.pixels, thumbnails.LARGE
    )
    opened = decoders.open_stored(io.BytesIO(content), edge=224)
    assert opened.tobytes() == inspection.open_for_encoder(io.BytesIO(content), 224).tobytes()
    queried = decoders.open_new(io.BytesIO(content), edge=512)
    assert (
        queried.tobytes() == inspection.open_image(io.BytesIO(content), edge=512).pixels.tobytes()
    )


def test_a_refusal_of_a_decode_process_has_its_sentence():
    with pytest.raises(ImageRefused, match="not an image of a kind that is taken"):
        decoders.study(io.BytesIO(b"<html>"))


def test_limits_of_the_settings_reach_a_decode_process_that_runs_already(settings):
    decoders.study(io.BytesIO(make_images.sound()))
    settings.MAX_IMAGE_PIXELS = 100
    with pytest.raises(ImageRefused, match="megapixels"):
        decoders.study(io.BytesIO(make_images.sound()))


def test_a_crash_takes_its_own_image_down_and_nothing_else(fatal_images):
    with pytest.raises(DecoderDied, match=r"makes its decoder crash \(SIGABRT\)\.$"):
        decoders.study(marked("crash"))
    assert decoders.study(marked("sound")).width == 64


def test_neighbours_of_a_crash_are_decoded(fatal_images):
    with ThreadPoolExecutor(6) as pool:
        outcomes = [
            pool.submit(decoders.study, marked("crash" if seed % 4 == 0 else "sound", seed))
            for seed in range(24)
        ]
    died = [outcome for outcome in outcomes if outcome.exception()]
    assert {type(outcome.exception()) for outcome in died} == {DecoderDied}
    assert [outcomes.index(outcome) for outcome in died] == list(range(0, 24, 4))


def test_a_decoder_that_hangs_is_ended_in_time(fatal_images, settings):
    settings.DECODE_SECONDS = 1
    started = time.monotonic()
    with pytest.raises(DecoderDied, match="takes longer than 1 seconds"):
        decoders.study(marked("hang"))
    assert time.monotonic() - started < 30
    assert not decode_processes()


def test_a_decoder_that_hangs_ends_when_who_asked_it_is_killed(fatal_images, settings, tmp_path):
    file = tmp_path / "hang.jpg"
    file.write_bytes(marked("hang").getvalue())
    asking = (
        "import django; django.setup()\n"
        "from gallery.decoding import decoders\n"
        f"decoders.study(open({str(file)!r}, 'rb'))\n"
    )
    asker = psutil.Popen(
        [os.sys.executable, "-c", asking],
        cwd=ROOT,
        env=os.environ | {"DECODE_SECONDS": "3", "DJANGO_SETTINGS_MODULE": "searchsite.settings"},
    )
    wait_until(lambda: decode_processes(asker.pid))
    (decoder,) = decode_processes(asker.pid)
    wait_until(lambda: is_at(decoder, file))
    asker.kill()
    asker.wait()
    decoder.wait(timeout=60)


def test_a_decoder_that_takes_all_memory_is_stopped(fatal_images):
    with pytest.raises(ImageRefused, match="more memory than one may take"):
        decoders.study(marked("fill the memory"))


def test_an_idle_process_that_was_killed_is_replaced_and_its_next_image_is_not_refused():
    decoders.study(io.BytesIO(make_images.sound()))
    (process,) = decode_processes()
    process.send_signal(signal.SIGKILL)
    assert decoders.study(io.BytesIO(make_images.sound())).width == 60


def test_a_process_that_is_killed_in_the_middle_of_an_image_is_given_it_again(
    fatal_images, settings, tmp_path
):
    settings.DECODE_SECONDS = 2
    hang = tmp_path / "hang.jpg"
    hang.write_bytes(marked("hang").getvalue())
    outcome = []

    def ask():
        try:
            with hang.open("rb") as file:
                decoders.study(file)
        except ImageRefused as refused:
            outcome.append(str(refused))

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(decode_processes)
    (first,) = decode_processes()
    wait_until(lambda: is_at(first, hang))
    first.send_signal(signal.SIGKILL)
    asking.join()
    # The second one came as far as the time allows.
    assert outcome == ["The image takes longer than 2 seconds to decode."]


def test_processes_that_cannot_start_are_no_image_s_fault(monkeypatch, tmp_path):
    (tmp_path / "PIL.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DecodersUnavailable):
        decoders.study(io.BytesIO(make_images.sound()))


@pytest.mark.parametrize("name", ["socket.socketpair", "subprocess.Popen"])
def test_a_machine_short_of_processes_or_files_is_no_image_s_fault(monkeypatch, name):
    def refuse(*args, **options):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(f"gallery.decoding.processes.{name}", refuse)
    with pytest.raises(DecodersUnavailable, match="Too many open files"):
        decoders.study(io.BytesIO(make_images.sound()))


def test_who_waits_for_an_answer_does_not_wait_for_ever(fatal_images, settings, monkeypatch):
    settings.DECODE_PROCESSES, settings.DECODE_SECONDS = 1, 3
    monkeypatch.setattr(patience, "DECODER_SECONDS", 0.2)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(decoders.study, marked("hang"))
        wait_until(lambda: decode_processes())
        with pytest.raises(DecodersUnavailable, match="Try again soon"):
            decoders.open_new(io.BytesIO(make_images.sound()), edge=64)
        with pytest.raises(DecoderDied):
            busy.result()
    assert decoders.open_new(io.BytesIO(make_images.sound()), edge=64)


def test_a_decode_process_knows_no_secrets():
    decoders.study(io.BytesIO(make_images.sound()))
    (process,) = decode_processes()
    assert not {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} & process.environ().keys()


def test_no_more_files_are_decoded_at_once_than_the_settings_allow(settings):
    settings.DECODE_PROCESSES = 2
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decoders.study(io.BytesIO(make_images.sound())), range(16)))
    assert len(decode_processes()) == 2


@pytest.mark.parametrize("kind", ["on disk", "in memory", "spooled", "uploaded", "large upload"])
def test_every_kind_of_file_is_read_from_its_beginning_and_left_where_it_was(kind, tmp_path):
    content = make_images.sound()
    if kind == "on disk":
        file = (tmp_path / "image").open("w+b")
    elif kind == "in memory":
        file = io.BytesIO()
    elif kind == "spooled":
        file = tempfile.SpooledTemporaryFile(max_size=100)  # noqa: SIM115 - closed below
    elif kind == "uploaded":
        file = SimpleUploadedFile("image.jpg", b"")
    else:
        file = TemporaryUploadedFile("image.jpg", "image/jpeg", len(content), None)
    with file:
        file.write(content)
        file.seek(7)
        assert decoders.study(file).width == 60
        file.seek(0)
        assert file.read() == content


def test_a_packed_file_is_read_unpacked(tmp_path):
    with gzip.open(tmp_path / "image.gz", "wb") as packed:
        packed.write(make_images.sound())
    with gzip.open(tmp_path / "image.gz") as packed:
        assert decoders.study(packed).width == 60


def test_a_failing_disk_is_not_blamed_on_the_image():
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        decoders.study(Failing(make_images.sound()))


@pytest.mark.parametrize(
    "bytes_sent",
    [b"\x00", b"\xff" * 12, b"\x00" * 12, b"\x00\x00\x00\x02" + b"\x00" * 8 + b"[]"],
    ids=["cut short", "endless", "empty", "no object"],
)
def test_a_message_that_is_none_is_an_error_and_nothing_worse(bytes_sent):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(bytes_sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((EOFError, ValueError)):
            messages.receive(ours)


def test_a_message_brings_its_bytes_and_its_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    ours, theirs = socket.socketpair()
    with ours, theirs, path.open("rb") as file:
        sent = Message({"a": [1, "ä"]}, os.urandom(3_000_000), file.fileno())
        sending = threading.Thread(target=messages.send, args=(theirs, sent))
        sending.start()
        got = messages.receive(ours)
        sending.join()
    assert (got.said, bytes(got.body)) == (sent.said, sent.body)
    with os.fdopen(got.file, "rb") as received:
        assert received.read() == b"content"


@pytest.mark.django_db(transaction=True)
def test_nothing_is_stored_of_an_image_that_kills_its_decoder(fatal_images, settings):
    with pytest.raises(ImageRefused):
        added(marked("crash"))
    assert not Image.objects.exists()
    assert not any(settings.MEDIA_ROOT.rglob("*.*"))


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_what_kills_its_decoder_while_it_is_embedded_is_parked_alone(monkeypatch, settings):
    spaces.ensure()
    images = [added(marked("crash" if seed == 3 else "sound", seed)) for seed in range(8)]
    decoders.close()
    monkeypatch.setenv("PYTHONPATH", FATAL)  # a decoder that was well when the image came in
    for _ in range(settings.JOB_MAX_ATTEMPTS):
        embed_waiting()
        ImageEmbeddingJob.objects.update(not_before=None)
    fatal = Image.objects.get(pk=images[3].pk)
    assert (fatal.state, fatal.failure) == (
        State.FAILED,
        "The image makes its decoder crash (SIGABRT).",
    )
    assert ImageEmbedding.objects.count() == 7
    assert ImageEmbeddingJob.objects.count() == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_worker_outlives_images_that_crash_and_hang_its_decoders(tmp_path):
    registry.load(spaces.ensure())
    comments = {2: "crash", 5: "hang"}
    images = [added(marked(comments.get(seed, "sound"), seed)) for seed in range(30)]
    worker = Worker(
        tmp_path / "worker.log", PYTHONPATH=FATAL, DECODE_SECONDS="1", JOB_MAX_ATTEMPTS="1"
    )
    try:
        pid = worker.process.pid
        tasks.wake()
        wait_until(lambda: Image.objects.exclude(state=State.WAITING).count() == 30, worker=worker)
    finally:
        worker.stop()
    assert worker.process.pid == pid
    failures = dict(Image.objects.filter(state=State.FAILED).values_list("pk", "failure"))
    assert failures == {
        images[2].pk: "The image makes its decoder crash (SIGABRT).",
        images[5].pk: "The image takes longer than 1 seconds to decode.",
    }
    assert ImageEmbedding.objects.count() == 28
