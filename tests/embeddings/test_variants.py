"""Towers in int8 on the disk: made once, whole or not at all, proved before they are used."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from embeddings.encoders import exports, keeping, sources, variants
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.exports import ExportFailed
from embeddings.encoders.layout import IMAGE_FILE, TEXT_FILE
from embeddings.encoders.precisions import INT8, TEXT, Calibration, Precisions
from tests.encoders import make_encoder

pytestmark = pytest.mark.slow

TEXTS_IN_INT8 = Precisions(text=INT8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return sources.find(str(make_encoder("clip", tmp_path_factory.mktemp("encoders") / "clip")))


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A cache with an export and its text tower in int8, which no test may change."""
    cache = tmp_path_factory.mktemp("cache")
    exported = exports.find(tiny, sources.cache_dir())
    shutil.copytree(exported.folder, cache / exported.folder.name)
    opened(tiny, cache).prepare()
    return cache


@pytest.fixture
def cache(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "cache")


def opened(source, cache, precisions=TEXTS_IN_INT8):
    return CpuEncoder(source, cache, precisions=precisions, threads=1)


def in_int8(cache, name=TEXT_FILE):
    return sorted(folder for folder in cache.glob(f"*.{name}-int8-*") if folder.is_dir())


def vector(encoder):
    return encoder.encode_texts(["two red boats"])[0]


def test_it_is_made_once_and_is_not_the_float32_one(tiny, cache):
    (before,) = in_int8(cache)
    made_at = before.stat().st_ino
    found = vector(opened(tiny, cache))
    assert not np.array_equal(found, vector(opened(tiny, cache, Precisions())))
    assert [folder.stat().st_ino for folder in in_int8(cache)] == [made_at]


@pytest.mark.parametrize("harm", ["cut", "gone", "3", "{}"])
def test_a_damaged_one_is_noticed_and_made_anew(tiny, cache, harm):
    expected = vector(opened(tiny, cache))
    (folder,) = in_int8(cache)
    file = folder / TEXT_FILE
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif harm == "gone":
        file.unlink()
    else:
        (folder / "sha256.json").write_text(harm)
    np.testing.assert_array_equal(vector(opened(tiny, cache)), expected)
    assert keeping.Kept.read(folder).is_whole()


def test_a_making_that_was_killed_leaves_nothing_that_is_taken_for_one(tiny, cache):
    for folder in in_int8(cache):
        shutil.rmtree(folder)
    code = (
        "import sys; from pathlib import Path; from embeddings.encoders import exports, variants;"
        "from embeddings.encoders.precisions import *;"
        "export = exports.Export.read(Path(sys.argv[1]));"
        "variants.file(export, TEXT, Precisions(text=INT8))"
    )
    (export,) = (one for one in cache.iterdir() if one.is_dir())
    maker = subprocess.Popen((sys.executable, "-c", code, export), start_new_session=True)
    until = time.monotonic() + 60
    while not list(cache.glob("*.part")):
        assert time.monotonic() < until
        assert maker.poll() is None
        time.sleep(0.01)
    os.killpg(maker.pid, signal.SIGKILL)
    maker.wait()
    assert not [one for one in in_int8(cache) if one.suffix != ".part"]
    vector(opened(tiny, cache))
    assert not list(cache.glob("*.part"))


def test_one_that_cannot_be_made_is_told_and_float32_serves(tiny, cache, caplog):
    nonsense = Calibration.of({"no": "ranges"})
    wanted = Precisions(image=INT8, calibration=nonsense)
    encoder = opened(tiny, cache, wanted)
    with pytest.raises(ExportFailed, match="cannot be had in int8"):
        encoder.prepare()
    frames = [np.full((1, 32, 32, 3), 99, np.uint8)]
    expected = opened(tiny, cache, Precisions()).encode_frames(frames)
    assert (encoder.encode_frames(frames) * expected).sum() > 0.999
    assert "computed in float32" in caplog.text
    assert not in_int8(cache, IMAGE_FILE)


def test_those_of_two_calibrations_lie_side_by_side(tiny, cache):
    exact = opened(tiny, cache, Precisions())
    random = np.random.default_rng(0)
    for most in (100, 200):
        frames = [random.integers(0, most, (1, 32, 32, 3), np.uint8) for _ in range(8)]
        found = exact.calibrate(frames)
        assert found == exact.calibrate(frames)
        exact.with_precisions(Precisions(image=INT8, calibration=found)).prepare()
    assert len(in_int8(cache, IMAGE_FILE)) == 2


def test_an_encoder_in_use_goes_over_and_back(tiny, cache):
    encoder = opened(tiny, cache, Precisions())
    exact = vector(encoder)
    encoder.change(TEXTS_IN_INT8)
    assert encoder.precisions == TEXTS_IN_INT8
    np.testing.assert_array_equal(vector(encoder), vector(opened(tiny, cache)))
    encoder.change(Precisions())
    np.testing.assert_array_equal(vector(encoder), exact)


def test_a_change_that_cannot_be_made_changes_nothing(tiny, cache):
    encoder = opened(tiny, cache, Precisions())
    with pytest.raises(ExportFailed):
        encoder.change(Precisions(image=INT8, calibration=Calibration.of({})))
    assert encoder.precisions == Precisions()


def test_a_name_says_tower_precision_and_way(tiny, cache):
    export = exports.find(tiny, cache)
    file = variants.file(export, TEXT, TEXTS_IN_INT8)
    assert file.parent.name == f"{export.folder.name}.{TEXT_FILE}-int8-{variants.FORMAT}-all"
