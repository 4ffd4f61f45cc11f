"""Every architecture gives what its own library gives, through torch and through exported files.

In each precision it gives nearly that.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel

from embeddings.encoders import comparing, export, quantise, reading, vocabularies
from embeddings.encoders.layout import IMAGE_FILE, PIXELS, TEXT_FILE
from embeddings.encoders.parts import Parts, features_of
from embeddings.encoders.tokens import Tokens
from embeddings.encoders.towers import OnnxTower, OpenVinoTower
from embeddings.errors import EncoderUnavailable
from embeddings.vectors import normalise
from tests import encoders, tokenizer_files

pytestmark = pytest.mark.slow

IMAGES = [
    Image.linear_gradient("L").resize((300, 200)).convert("RGB"),
    Image.new("RGB", (40, 90), "red"),
]
TEXTS = ["two red boats at night", "a", "boats 北京"]
LEAST_COSINE = 0.98  # of a few small random layers, in which rounding hardly averages out
# The one that test_encoders opens as a server does is not exported here again.
KINDS = sorted(encoders.MAKERS.keys() - {"clip"})
has_open_clip = importlib.util.find_spec("open_clip") is not None


@dataclass(frozen=True)
class Vectors:
    """Of IMAGES and TEXTS, one way."""

    images: np.ndarray
    texts: np.ndarray


def by_torch(parts: Parts) -> Vectors:
    tokens = Tokens(parts.tokenizer, parts.text_options)
    frames = np.concatenate([parts.framing.frames(image) for image in IMAGES])
    with torch.inference_mode():
        images = export.ImageTower(parts)(torch.from_numpy(frames)).numpy()
        texts = [
            features_of(
                parts.model.get_text_features(
                    **{name: torch.from_numpy(one) for name, one in tokens.arrays([text]).items()}
                )
            ).numpy()
            for text in TEXTS
        ]
    return Vectors(normalise(images), normalise(np.concatenate(texts)))


def by_files(parts: Parts, folder) -> Vectors:
    """What a process without torch gives: texts by ONNX Runtime, images by OpenVINO."""
    export.export(parts, folder)
    tokens = Tokens(parts.tokenizer, parts.text_options)
    frames = np.concatenate([parts.framing.frames(image) for image in IMAGES])
    images = OpenVinoTower(folder / IMAGE_FILE, precision="f32", threads=1)
    texts = OnnxTower(folder / TEXT_FILE)
    return Vectors(
        normalise(images.features({PIXELS: frames})),
        normalise(texts.features(tokens.arrays(TEXTS))),
    )


def assert_nearly_same(parts: Parts, folder, expected: Vectors) -> None:
    """Compare what comes out of the same files in every precision."""
    tokens = Tokens(parts.tokenizer, parts.text_options)
    for way in (quantise.text, quantise.text_in_blocks):
        way(folder / TEXT_FILE, folder / "int8.onnx")
        texts = OnnxTower(folder / "int8.onnx").features(tokens.arrays(TEXTS))
        assert comparing.cosines(normalise(texts), expected.texts).min() > LEAST_COSINE
    frames = np.concatenate([parts.framing.frames(image) for image in IMAGES])
    encoders.write_json(folder / "ranges.json", quantise.calibrate(folder / IMAGE_FILE, frames))
    quantise.image(folder / IMAGE_FILE, folder / "int8.onnx", folder / "ranges.json")
    for file, precision in (("int8.onnx", "f32"), (IMAGE_FILE, "bf16")):
        tower = OpenVinoTower(folder / file, precision=precision, threads=1)
        images = normalise(tower.features({PIXELS: frames}))
        assert comparing.cosines(images, expected.images).min() > LEAST_COSINE


def assert_same(found: Vectors, expected: Vectors) -> None:
    np.testing.assert_allclose(found.images, expected.images, atol=1e-5)
    np.testing.assert_allclose(found.texts, expected.texts, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_transformers_gives(tmp_path, kind):
    folder = encoders.make_encoder(kind, tmp_path / "encoder")
    parts = reading.read(folder)
    images = encoders.image_reference(folder, IMAGES)
    model = AutoModel.from_pretrained(folder).eval()
    expected = Vectors(images, encoders.features_of_ids(model, expected_ids(kind, folder, parts)))
    assert_same(by_torch(parts), expected)
    (tmp_path / "export").mkdir()
    assert_same(by_files(parts, tmp_path / "export"), expected)
    assert_nearly_same(parts, tmp_path / "export", expected)


def expected_ids(kind, folder, parts):
    """What the model is given by its own library, or what that would give with sentencepiece."""
    if kind == "siglip 2":
        return encoders.ids_of(folder, [text.lower() for text in TEXTS])
    if not list(folder.glob("*.model")):
        return encoders.ids_of(folder, TEXTS)
    return [{"input_ids": torch.tensor([parts.tokenizer.encode(text).ids])} for text in TEXTS]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return encoders.make_encoder("clip", tmp_path_factory.mktemp("clip"))


@pytest.mark.parametrize("kind", ["sentence-transformers", "Multilingual-CLIP"])
def test_a_text_tower_of_many_languages_serves_beside_clip_s_images(tmp_path, clip_folder, kind):
    folder = tmp_path / "texts"
    if kind == "sentence-transformers":
        encoders.make_sentence_tower(folder)
        parts = reading.read(clip_folder, folder)
        texts = encoders.sentence_reference(folder, TEXTS)
    else:
        encoders.make_m_clip_tower(folder)
        parts = reading.read(clip_folder, folder)
        ids = [parts.tokenizer.encode(text).ids for text in TEXTS]
        texts = encoders.m_clip_reference(folder, ids, parts.tokenizer.get_vocab_size())
    expected = Vectors(encoders.image_reference(clip_folder, IMAGES), texts)
    assert_same(by_torch(parts), expected)
    (tmp_path / "export").mkdir()
    assert_same(by_files(parts, tmp_path / "export"), expected)
    assert_nearly_same(parts, tmp_path / "export", expected)


@pytest.mark.parametrize("is_custom", [False, True], ids=["CLIP", "custom text"])
def test_a_vision_transformer_of_open_clip_is_read_without_it(tmp_path, is_custom):
    folder, model = encoders.make_open_clip(tmp_path / "encoder", is_custom=is_custom)
    parts = reading.read(folder)
    pixels = [parts.framing.frames(image)[0] / 127.5 - 1 for image in IMAGES]
    with torch.no_grad():
        arrays = torch.tensor(np.stack(pixels), dtype=torch.float32).permute(0, 3, 1, 2)
        images = normalise(features_of(model.get_image_features(arrays)).numpy())
        ids = [torch.tensor([parts.tokenizer.encode(text).ids]) for text in TEXTS]
        texts = [features_of(model.get_text_features(one)).numpy() for one in ids]
    expected = Vectors(images, normalise(np.concatenate(texts)))
    assert_same(by_torch(parts), expected)
    if not is_custom:
        (tmp_path / "export").mkdir()
        assert_same(by_files(parts, tmp_path / "export"), expected)
        assert_nearly_same(parts, tmp_path / "export", expected)


def test_open_clip_cuts_texts_into_the_same_words(tmp_path):
    folder, _ = encoders.make_open_clip(tmp_path)
    tokens = reading.read(folder).tokenizer.encode("Two RED boats").tokens
    assert tokens == ["<|startoftext|>", "two</w>", "red</w>", "boats</w>", "<|endoftext|>"]


@pytest.mark.skipif(not has_open_clip, reason="requirements-open-clip.txt is not installed")
def test_a_resnet_of_open_clip_is_run_by_it(tmp_path):
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    folder, _ = encoders.make_open_clip(tmp_path / "encoder")
    said = encoders.read_json(folder / "open_clip_config.json")
    said["model_cfg"]["vision_cfg"] = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
    encoders.write_json(folder / "open_clip_config.json", said)
    model = CLIP(**said["model_cfg"]).eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    parts = reading.read(folder)
    ids = Tokens(parts.tokenizer, parts.text_options).arrays(TEXTS)["input_ids"]
    frames = np.concatenate([parts.framing.frames(image) for image in IMAGES]) / 127.5 - 1
    with torch.no_grad():
        pixels = torch.tensor(frames, dtype=torch.float32).permute(0, 3, 1, 2)
        expected = Vectors(
            normalise(model.encode_image(pixels).numpy()),
            normalise(model.encode_text(torch.from_numpy(ids)).numpy()),
        )
    assert_same(by_torch(parts), expected)
    (tmp_path / "export").mkdir()
    assert_same(by_files(parts, tmp_path / "export"), expected)
    assert_nearly_same(parts, tmp_path / "export", expected)


@pytest.mark.skipif(has_open_clip, reason="open_clip is installed")
def test_what_only_open_clip_can_run_names_what_to_install(tmp_path):
    folder, _ = encoders.make_open_clip(tmp_path)
    said = encoders.read_json(folder / "open_clip_config.json")
    said["model_cfg"]["vision_cfg"]["layers"] = [3, 4, 6, 3]
    encoders.write_json(folder / "open_clip_config.json", said)
    with pytest.raises(EncoderUnavailable, match=r"requirements-open-clip\.txt"):
        reading.read(folder)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Two  RED boats, at night!", ["▁two", "▁red", "▁boats", "▁at", "▁night", "</s>"]),
        ("boats (北京)", ["▁boats", "▁", "北", "京", "</s>"]),
        ("  a.b ", ["▁a", "b", "</s>"]),
    ],
)
def test_siglip_s_sentencepiece_model_reads_texts_as_siglip_was_trained(tmp_path, text, pieces):
    tokenizer_files.sentencepiece(tmp_path, "SiglipTokenizer")
    tokenizer = vocabularies.of(tmp_path, "siglip")
    assert tokenizer.backend_tokenizer.encode(text).tokens == pieces


def test_a_saved_tokenizer_of_siglip_is_read_without_sentencepiece(tmp_path):
    tokenizer_files.sentencepiece(tmp_path, "SiglipTokenizer")
    vocabularies.of(tmp_path, "siglip").backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "spiece.model").unlink()
    backend = vocabularies.of(tmp_path, "siglip").backend_tokenizer
    assert backend.encode("A RED boat.").tokens == ["▁a", "▁red", "▁boat", "</s>"]


def test_ids_of_xlm_roberta_begin_with_its_own_four(tmp_path):
    size = tokenizer_files.sentencepiece(tmp_path, "XLMRobertaTokenizer")["vocab_size"]
    backend = vocabularies.of(tmp_path, "xlm-roberta").backend_tokenizer
    assert backend.get_vocab_size() == size
    assert backend.encode("two boats é").ids == [0, 4, 6, backend.token_to_id("▁"), 3, 2]


def test_a_sentencepiece_model_of_another_class_is_refused_with_a_sentence(tmp_path):
    tokenizer_files.sentencepiece(tmp_path, "LlamaTokenizer")
    with pytest.raises(ValueError, match="put one beside it"):
        vocabularies.of(tmp_path, "llama")


def test_a_sentencepiece_model_that_is_spoilt_is_refused_with_a_sentence(tmp_path):
    tokenizer_files.sentencepiece(tmp_path, "XLMRobertaTokenizer")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\xff" * 99)
    with pytest.raises(ValueError, match="is no sentencepiece model"):
        vocabularies.of(tmp_path, "xlm-roberta")


def test_a_vocabulary_in_plain_text_is_enough(tmp_path):
    tokenizer_files.word_pieces(tmp_path)
    encoders.write_json(tmp_path / "config.json", {"model_type": "chinese_clip"})
    backend = vocabularies.of(tmp_path, "chinese_clip").backend_tokenizer
    assert backend.encode("Boats 北京").tokens == ["[CLS]", "boats", "北", "京", "[SEP]"]
