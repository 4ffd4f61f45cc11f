from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from embeddings.encoders import exports, sources
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.exports import Export, ExportFailed
from embeddings.encoders.keeping import FolderBroken
from embeddings.encoders.layout import IMAGE_FILE, SAID_FILE, TEXT_FILE
from embeddings.encoders.precisions import Precisions
from embeddings.encoders.towers import OnnxTower, OpenVinoTower
from embeddings.errors import EncoderUnavailable
from tests.encoders import make_encoder
from tests.workers import wait_until

pytestmark = pytest.mark.slow

IMAGE = Image.linear_gradient("L").convert("RGB")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return sources.find(str(make_encoder("clip", tmp_path_factory.mktemp("encoders") / "clip")))


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A cache with an export that no test may change."""
    cache = tmp_path_factory.mktemp("cache")
    exported = exports.find(tiny, sources.cache_dir())
    shutil.copytree(exported.folder, cache / exported.folder.name)
    return cache


@pytest.fixture
def cache(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "cache")


def opened(source, cache):
    return CpuEncoder(source, cache, precisions=Precisions(), threads=1)


def vectors(encoder):
    return np.concatenate([encoder.encode_texts(["a boat"]), encoder.encode_images([IMAGE])])


def made_at(cache):
    (folder,) = (one for one in cache.iterdir() if one.is_dir())
    return folder.stat().st_ino


def test_it_is_made_once(tiny, cache):
    before = made_at(cache)
    vectors(opened(tiny, cache))
    assert made_at(cache) == before


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        (TEXT_FILE, "gone"),
        (f"{TEXT_FILE}.data", "changed"),
        (IMAGE_FILE, "cut"),
        (SAID_FILE, "cut"),
        ("sha256.json", "[]"),
        ("sha256.json", "{}"),
        ("sha256.json", "null"),
    ],
)
def test_a_damaged_file_is_noticed(cache, name, harm):
    (folder,) = (one for one in cache.iterdir() if one.is_dir())
    do_harm(folder / name, harm)
    with pytest.raises(FolderBroken):
        proved(folder)


def proved(folder):
    """Look at an export as whoever opens its towers does."""
    export = Export.read(folder)
    return [export.file(name) for name in (TEXT_FILE, IMAGE_FILE)]


def test_what_is_found_damaged_when_a_tower_is_opened_is_made_anew(tiny, cache):
    expected = vectors(opened(tiny, cache))
    (file,) = cache.glob(f"*/{TEXT_FILE}.data")
    do_harm(file, "changed")
    np.testing.assert_array_equal(vectors(opened(tiny, cache)), expected)
    np.testing.assert_array_equal(vectors(opened(tiny, cache)), expected)


def do_harm(file, harm):
    content = bytearray(file.read_bytes())
    if harm == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif harm in ("[]", "{}", "null"):  # sound JSON, and not what was written
        file.write_text(harm)
    elif harm == "changed":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()


def test_what_a_full_disk_or_a_kill_broke_off_is_not_taken_for_an_export_and_is_tried_again(
    tiny, tmp_path
):
    cache = tmp_path / "cache"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a disk without room
    try:
        with pytest.raises(ExportFailed, match="cannot be exported: File too large"):
            opened(tiny, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [one for one in cache.iterdir() if one.is_dir()]
    kill_half_way(tiny, cache)
    assert vectors(opened(tiny, cache)).shape == (2, 24)
    assert not list(cache.glob("*.part"))


def kill_half_way(source, cache):
    """Kill a process that exports, which what it runs does not outlive."""
    code = (
        "import sys; from pathlib import Path; from embeddings.encoders import exports;"
        "from embeddings.encoders.sources import Source;"
        "exports.find(Source(sys.argv[1], sys.argv[2], Path(sys.argv[1])), Path(sys.argv[3]))"
    )
    command = (sys.executable, "-c", code, source.name, source.revision, cache)
    maker = subprocess.Popen(command)
    wait_until(lambda: list(cache.glob(f"*.part/{TEXT_FILE}")))  # half of it is written
    (program,) = psutil.Process(maker.pid).children()
    os.kill(maker.pid, signal.SIGKILL)
    maker.wait()
    wait_until(lambda: not is_running(program))
    assert not list(cache.glob(f"*.part/{SAID_FILE}"))  # it did not go on to its end
    assert not [one for one in cache.iterdir() if one.is_dir() and one.suffix != ".part"]


def is_running(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_what_cannot_be_exported_is_not_tried_by_each_process_anew(tmp_path, caplog):
    folder = make_encoder("clip", tmp_path / "encoder")
    weights = load_file(folder / "model.safetensors")
    # It is finite for an image without contrast, and for no other.
    weights["vision_model.embeddings.patch_embedding.weight"] *= 1e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    caplog.set_level("INFO", exports.__name__)
    for _ in range(2):
        with pytest.raises(ExportFailed, match="its images come out otherwise than by torch"):
            opened(sources.find(str(folder)), tmp_path / "cache")
    assert caplog.text.count("Exporting the encoder") == 1


def test_another_version_makes_it_anew_and_whoever_asks_meanwhile_waits_for_it(
    tiny, cache, monkeypatch
):
    known = exports.version
    monkeypatch.setattr(
        exports, "version", lambda name: "0.1" if name == "onnxruntime" else known(name)
    )
    before = made_at(cache)
    found = []
    asking = [
        threading.Thread(target=lambda: found.append(exports.find(tiny, cache))) for _ in range(3)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(found) == 3
    (folder,) = {export.folder for export in found}
    assert folder.stat().st_ino != before
    assert not list(cache.glob("*.part"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_nothing_is_a_sentence(tiny, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(ExportFailed, match="cannot be kept"):
        opened(tiny, closed)


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportFailed, match="cannot be kept"):
        opened(tiny, tmp_path / "file")


def test_a_folder_that_holds_no_encoder_is_said_so_and_nothing_is_kept(tiny, tmp_path):
    folder = shutil.copytree(tiny.folder, tmp_path / "encoder")
    (folder / "config.json").write_text("{}")
    with pytest.raises(EncoderUnavailable, match="holds no encoder") as refusal:
        opened(sources.find(str(folder)), tmp_path / "cache")
    assert not isinstance(refusal.value, ExportFailed)
    assert not [one for one in (tmp_path / "cache").iterdir() if one.is_dir()]


@pytest.mark.parametrize("content", [None, b"", b"no graph at all"])
def test_a_tower_that_cannot_be_opened_is_a_sentence(tmp_path, content):
    file = tmp_path / TEXT_FILE
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EncoderUnavailable, match="cannot be opened here"):
        OnnxTower(file)
    with pytest.raises(EncoderUnavailable, match="cannot be opened here"):
        OpenVinoTower(file, precision="f32", threads=1)


def test_many_texts_of_any_length_come_in_their_order(tiny, cache):
    encoder = opened(tiny, cache)
    texts = ["boat " * (n * 7 % 40) for n in range(40)]
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts), alone, atol=2e-5)
    images = [IMAGE.rotate(9 * n) for n in range(40)]
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    np.testing.assert_allclose(encoder.encode_images(images), alone, atol=2e-5)


def test_many_threads_share_one_encoder(tiny, cache):
    encoder = opened(tiny, cache)
    texts = [f"text {'very ' * n}long" for n in range(12)]
    expected = {text: encoder.encode_texts([text])[0] for text in texts}
    wrong = []

    def ask(start):
        for n in range(60):
            text = texts[(start + n) % len(texts)]
            if not np.array_equal(encoder.encode_texts([text])[0], expected[text]):
                wrong.append(text)

    asking = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert not wrong
