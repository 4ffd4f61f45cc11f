from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from embeddings.encoders import reading
from embeddings.encoders.framing import MOST_CROPS, Framing, Manner, means
from embeddings.vectors import normalise

SQUARE = Framing(width=32, height=32, shorter=32, bars=(9, 99, 199))


def noise(width, height):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def halves(width, height):
    """Red on its left or upper half, blue on the other."""
    image = Image.new("RGB", (width, height), "blue")
    image.paste("red", (0, 0, width // 2, height) if width > height else (0, 0, width, height // 2))
    return image


@pytest.mark.parametrize("size", [(61, 47), (47, 61), (640, 480), (33, 32), (500, 32), (8, 8)])
@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
        SiglipImageProcessorPil(size={"height": 32, "width": 48}),
    ],
    ids=["cut", "scaled beyond and cut", "squashed"],
)
def test_it_shows_what_transformers_shows(processor, size):
    image = noise(*size)
    theirs = processor(images=[image], do_normalize=False, return_tensors="np")["pixel_values"][0]
    framing, _, _ = reading.framing_of(processor)
    ours = framing.frames(image)[0].transpose(2, 0, 1) / 255
    assert ours.shape == theirs.shape
    # Of scaling and cutting in one step, one value in a hundred is rounded the other way.
    assert np.abs(ours - theirs).max() < 1.5 / 255
    assert (np.abs(ours - theirs) > 0.5 / 255).mean() < 0.02


def test_a_processor_of_another_kind_is_refused():
    padding = CLIPImageProcessorPil(
        size={"shortest_edge": 20}, crop_size={"height": 32, "width": 32}
    )
    with pytest.raises(ValueError, match="in an unknown way"):
        reading.framing_of(padding)


@pytest.mark.parametrize("size", [(320, 80), (80, 320)])
def test_a_letterbox_shows_all_of_it_between_bars(size):
    framing = Framing(**SQUARE.to_json() | {"manner": Manner.LETTERBOX})
    (frame,) = framing.frames(halves(*size))
    if size[0] < size[1]:
        frame = frame.transpose(1, 0, 2)
    assert frame[0, 0].tolist() == frame[-1, -1].tolist() == [9, 99, 199]
    assert frame[16, 1].tolist() == [255, 0, 0]
    assert frame[16, -2].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("size", "n"),
    [((100, 100), 1), ((110, 100), 1), ((150, 100), 2), ((100, 290), 3), ((2000, 40), 5)],
)
def test_crops_go_from_end_to_end(size, n):
    framing = Framing(**SQUARE.to_json() | {"manner": Manner.CROPS})
    frames = framing.frames(halves(*size))
    assert frames.shape == (n, 32, 32, 3)
    assert n <= MOST_CROPS
    if n > 1:
        assert frames[0, 1, 1].tolist() == [255, 0, 0]
        assert frames[-1, -2, -2].tolist() == [0, 0, 255]


def test_the_vector_of_several_crops_is_their_mean_s_direction():
    vectors = normalise(np.random.default_rng(0).standard_normal((6, 8)))
    found = means(vectors, [1, 3, 2])
    np.testing.assert_allclose(found[0], vectors[0], atol=1e-6)
    np.testing.assert_allclose(found[1], normalise(vectors[1:4].mean(axis=0)), atol=1e-6)
    np.testing.assert_allclose(found[2], normalise(vectors[4:].mean(axis=0)), atol=1e-6)
    assert means(vectors, [1] * 6) is vectors


def test_it_travels_as_json():
    framing = Framing(**SQUARE.to_json() | {"manner": Manner.CROPS})
    assert Framing.from_json(framing.to_json()) == framing
