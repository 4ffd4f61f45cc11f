"""What is for a GPU, run by torch on the processor: the same code, but for what moves the bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._inductor import config as compiler

from embeddings.encoders import reading
from embeddings.encoders.gpu import ImageTower
from embeddings.encoders.huggingface import TorchEncoder
from embeddings.encoders.parts import Parts
from embeddings.encoders.sources import Source
from embeddings.errors import EncoderUnavailable
from tests.encoders import make_encoder

# Its compiler uses what it has deprecated itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("encoder")
    make_encoder("clip", folder)
    return folder


@pytest.fixture
def parts(folder) -> Parts:
    return reading.read(folder)


def frames(parts: Parts, n: int) -> Any:
    size = (n, parts.framing.height, parts.framing.width, 3)
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


@contextmanager
def memory_for(parts: Parts, most: int) -> Iterator[list[int]]:
    """Let the device take so many images at once and no more; note how many each try had."""
    tried: list[int] = []

    def forward(_: object, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        tried.append(len(inputs["pixel_values"]))
        if tried[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = parts.model.vision_model.register_forward_pre_hook(forward, with_kwargs=True)
    yield tried
    hook.remove()


def test_what_does_not_fit_is_halved_until_it_does(parts):
    whole = ImageTower(parts, CPU, torch.float32).features(frames(parts, 22))
    tower = ImageTower(parts, CPU, torch.float32)
    with memory_for(parts, 4) as tried:
        np.testing.assert_allclose(tower.features(frames(parts, 22)), whole, atol=1e-5)
        assert tried == [22, 11, 5, 2, *[2] * 10]
        tried.clear()
        tower.features(frames(parts, 4))
        assert tried == [2, 2]  # it is not tried again what did not fit


def test_a_device_without_room_for_one_image_is_no_fault_of_the_image(parts):
    tower = ImageTower(parts, CPU, torch.float32)
    with memory_for(parts, 0), pytest.raises(EncoderUnavailable, match="out of memory"):
        tower.features(frames(parts, 3))
    assert tower.features(frames(parts, 3)).shape[0] == 3


@pytest.mark.skipif(
    "TEST_COMPILED" not in os.environ, reason="It takes half a minute: make nightly."
)
def test_a_compiled_graph_gives_the_same_for_batches_of_any_size(parts):
    eager = ImageTower(parts, CPU, torch.float32)
    compiled = ImageTower(parts, CPU, torch.float32, compiled_from=1)
    for n in (12, 1, 9):
        given = frames(parts, n)
        np.testing.assert_allclose(compiled.features(given), eager.features(given), atol=1e-5)


def test_without_a_compiler_images_are_encoded_all_the_same(parts, monkeypatch, caplog):
    monkeypatch.setattr(compiler.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(compiler, "force_disable_caches", True)
    torch._dynamo.reset()
    given = frames(parts, 3)
    eager = ImageTower(parts, CPU, torch.float32).features(given)
    tower = ImageTower(parts, CPU, torch.float32, compiled_from=1)
    np.testing.assert_array_equal(tower.features(given), eager)
    assert "without a compiled graph" in caplog.text


def test_so_they_are_when_a_graph_wants_more_memory_than_there_is(parts, monkeypatch, caplog):
    def fill(_pixels):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "compile", lambda _run, **_options: fill)
    given = frames(parts, 3)
    eager = ImageTower(parts, CPU, torch.float32).features(given)
    tower = ImageTower(parts, CPU, torch.float32, compiled_from=1)
    np.testing.assert_array_equal(tower.features(given), eager)
    assert "without a compiled graph" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")
def test_a_gpu_gives_what_the_processor_gives(folder):
    source = Source("tiny", "test", folder)
    exact = TorchEncoder(source, device="cpu", precision="float32")
    given = list(frames(reading.read(folder), 40)[:, None])
    for precision, least in (("float32", 0.99999), ("bfloat16", 0.999)):
        encoder = TorchEncoder(source, device="cuda", precision=precision)
        for _ in range(60):  # the last ones through a compiled graph
            vectors = encoder.encode_frames(given)
        assert (vectors * exact.encode_frames(given)).sum(axis=1).min() > least
