from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from embeddings.encoders import exports, sources
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.exports import Export, ExportFailed
from embeddings.encoders.keeping import FolderBroken
from embeddings.encoders.layout import IMAGE_FILE, SAID_FILE, TEXT_FILE
from embeddings.encoders.precisions import Precisions
from embeddings.errors import EncoderUnavailable
from tests.encoders import make_encoder

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


def test_whoever_asks_at_once_waits_for_the_one_that_makes_it(tiny, tmp_path):
    found = []
    asking = [
        threading.Thread(target=lambda: found.append(exports.find(tiny, tmp_path / "new")))
        for _ in range(3)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(found) == 3
    assert len({export.folder for export in found}) == 1
    assert not list((tmp_path / "new").glob("*.part"))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        (TEXT_FILE, "gone"),
        (f"{TEXT_FILE}.data", "changed"),
        (IMAGE_FILE, "cut"),
        (SAID_FILE, "cut"),
        ("sha256.json", "[]"),
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


# One that is noticed when the folder is read, and one when a tower is opened.
@pytest.mark.parametrize(
    ("name", "harm"), [("sha256.json", "null"), (f"{TEXT_FILE}.data", "changed")]
)
def test_what_is_damaged_is_made_anew(tiny, cache, name, harm):
    expected = vectors(opened(tiny, cache))
    (file,) = cache.glob(f"*/{name}")
    do_harm(file, harm)
    np.testing.assert_array_equal(vectors(opened(tiny, cache)), expected)
    np.testing.assert_array_equal(vectors(opened(tiny, cache)), expected)


def do_harm(file, harm):
    content = bytearray(file.read_bytes())
    if harm == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif harm in ("[]", "null"):  # sound JSON, and not what was written
        file.write_text(harm)
    elif harm == "changed":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()


def test_an_export_that_was_killed_leaves_nothing_that_is_taken_for_one(tiny, tmp_path):
    code = (
        "import sys; from pathlib import Path; from embeddings.encoders import exports;"
        "from embeddings.encoders.sources import Source;"
        "exports.find(Source(sys.argv[1], sys.argv[2], Path(sys.argv[1])), Path(sys.argv[3]))"
    )
    cache = tmp_path / "new"
    command = (sys.executable, "-c", code, tiny.name, tiny.revision, cache)
    maker = subprocess.Popen(command, start_new_session=True)
    until = time.monotonic() + 60
    while not list(cache.glob(f"*.part/{TEXT_FILE}")):  # half of it is written
        assert time.monotonic() < until
        assert maker.poll() is None
        time.sleep(0.02)
    os.killpg(maker.pid, signal.SIGKILL)
    maker.wait()
    assert not [one for one in cache.iterdir() if one.is_dir() and one.suffix != ".part"]
    assert vectors(opened(tiny, cache)).shape == (2, 24)
    assert not list(cache.glob("*.part"))


def test_another_version_makes_it_anew_and_the_older_goes_after_a_while(tiny, cache, monkeypatch):
    (old,) = (one for one in cache.iterdir() if one.is_dir())
    os.utime(old, (0, 0))
    known = exports.version
    monkeypatch.setattr(
        exports, "version", lambda name: "0.1" if name == "onnxruntime" else known(name)
    )
    opened(tiny, cache)
    (new,) = (one for one in cache.iterdir() if one.is_dir())
    assert new != old


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
