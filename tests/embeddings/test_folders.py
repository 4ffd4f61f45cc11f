"""What cannot serve is refused with one sentence that says why, and harms nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from embeddings.encoders import folders, opening, reading, registry, sources
from embeddings.encoders.sources import BUNDLED, BUNDLED_FOLDER
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from tests import encoders, tokenizer_files


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED_FOLDER, tmp_path / "encoder")


def say(folder, **changes):
    config = encoders.read_json(folder / "config.json")
    encoders.write_json(folder / "config.json", config | changes)


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def split(folder, name):
    """Let an index name the file of the weights, as of those that lie in several."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    said = {"metadata": {}, "weight_map": {"logit_scale": name}}
    encoders.write_json(folder / "model.safetensors.index.json", said)


def without(name):
    return lambda folder: (folder / name).unlink()


def make_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def write(name, content):
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (without("config.json"), r"it has no config\.json"),
        (write("config.json", "{"), r"config\.json cannot be read"),
        (write("config.json", "[]"), r"config\.json says nothing"),
        (without("model.safetensors"), "it has no weights; only safetensors are read"),
        (make_pickle, r"are a pickle \(pytorch_model\.bin\), which can hold code"),
        (without("tokenizer.json"), "it has no tokenizer"),
        (without("preprocessor_config.json"), r"it has no preprocessor_config\.json"),
        (lambda folder: say(folder, model_type="siglip2"), "variants of a fixed resolution serve"),
        (lambda folder: say(folder, model_type="M-CLIP"), r"texts alone; .* as TEXT\+IMAGE"),
        (write("modules.json", '[{"path": "../..", "type": "x"}]'), "folders outside of it"),
        (write("modules.json", "7"), r"modules\.json cannot be read"),
        (write("config.json", "[" * 100_000), r"its config\.json cannot be read"),
        (write("adapter_config.json", "{}"), "an adapter .* must be merged"),
        (lambda folder: say(folder, transformers_weights="adapter_model.bin"), "of its own"),
        (lambda folder: split(folder, "gone.safetensors"), r"it has no gone\.safetensors"),
        (lambda folder: split(folder, "weights.bin"), r"names weights\.bin; only safetensors"),
        (lambda folder: split(folder, "/w.safetensors"), "names /w.safetensors; only"),
        (lambda folder: split(folder, "../w.safetensors"), "names .*; only safetensors beside"),
        (lambda folder: split(folder, 3), "names no weights"),
        (lambda folder: say(folder, vision_config={"num_hidden_layers": 10**12}), "at most 1,000"),
    ],
)
def test_a_folder_without_what_is_needed_is_refused_at_once(folder, harm, reason):
    harm(folder)
    with pytest.raises(EncoderUnavailable, match=reason):
        opening.open_source(sources.find(str(folder)))


def test_weights_in_several_files_are_read(folder):
    split(folder, "model-00001-of-00001.safetensors")
    folders.check(folder)


def test_of_a_pair_the_sentence_names_the_folder_that_is_wrong(folder, tmp_path):
    texts = shutil.copytree(folder, tmp_path / "texts")
    (texts / "tokenizer.json").unlink()
    with pytest.raises(EncoderUnavailable, match=f"{texts} holds no encoder"):
        folders.check(folder, texts)
    (folder / "tokenizer.json").unlink()  # texts come from elsewhere
    with pytest.raises(EncoderUnavailable, match=f"{texts} holds no encoder"):
        folders.check(folder, texts)


def make_bert(folder):
    ids = tokenizer_files.word_pieces(folder)
    model = BertModel(BertConfig(**encoders.TOWER, max_position_embeddings=40, **ids))
    model.save_pretrained(folder)


def write_nan(folder):
    def change(weights):
        weights["logit_scale"] = torch.tensor(float("nan"))

    change_weights(folder, change)


def write_zeros(folder):
    change_weights(folder, lambda weights: weights["visual_projection.weight"].zero_())


def forget_the_unknown(folder):
    said = encoders.read_json(folder / "tokenizer.json")
    word_level = {"type": "WordLevel", "vocab": {f"word {n}": n for n in range(40)}}
    encoders.write_json(
        folder / "tokenizer.json", said | {"model": word_level | {"unk_token": "?"}}
    )


def take_some(folder):
    def change(weights):
        for name in list(weights):
            if "layers.1." in name:
                del weights[name]

    change_weights(folder, change)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (make_bert, "BertModel does not encode both images and texts"),
        (lambda folder: say(folder, model_type="nothing-known"), "knows no model of type"),
        (lambda folder: say(folder, model_type="odd", auto_map={}), "code from a folder is never"),
        (lambda folder: say(folder, projection_dim=64), "of another size than config.json says"),
        (write_nan, "weights that are no numbers"),
        (take_some, r"its checkpoint lacks \d+ weights"),
        (write_zeros, "its vectors are zero, or no numbers"),
        (forget_the_unknown, "WordLevel error: Missing"),
        (write("tokenizer.json", '{"added_tokens": []}'), "Model missing"),
        (lambda folder: say(folder, text_config={"hidden_size": "x"}), "hidden_size"),
    ],
    ids=["texts alone", "unknown", "code", "other sizes", "NaN", "some weights", "zeros",
         "words that are not known", "a tokenizer of nonsense", "a configuration of nonsense"],
)  # fmt: skip
def test_what_is_in_the_files_is_refused_with_its_reason(folder, harm, reason):
    harm(folder)
    with pytest.raises(EncoderUnavailable, match=f"^The folder {folder} holds no .*{reason}"):
        reading.read(folder)


def test_so_it_is_of_a_pair_s_texts(folder, tmp_path):
    texts = encoders.make_sentence_tower(tmp_path / "texts")
    encoders.write_json(texts / "1_Pooling" / "config.json", {"pooling_mode": "last"})
    with pytest.raises(
        EncoderUnavailable, match=f"^The folder {texts} holds .* is not known: last"
    ):
        reading.read(folder, texts)


def test_towers_of_different_widths_are_refused(tmp_path):
    folder = encoders.make_encoder("siglip", tmp_path)
    config = encoders.read_json(folder / "config.json")
    config["text_config"]["projection_size"] = 16
    encoders.write_json(folder / "config.json", config)

    def change(weights):
        weights["text_model.head.weight"] = torch.zeros(16, 32)
        weights["text_model.head.bias"] = torch.zeros(16)

    change_weights(folder, change)
    with pytest.raises(EncoderUnavailable, match="32 dimensions for images and 16 for texts"):
        reading.read(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    config = encoders.read_json(folder / "config.json")
    config["text_config"]["vocab_size"] = 40

    def change(weights):
        name = "text_model.embeddings.token_embedding.weight"
        weights[name] = weights[name][:40].clone()

    change_weights(folder, change)
    encoders.write_json(folder / "config.json", config)
    with pytest.raises(EncoderUnavailable, match="its tokenizer has the id"):
        reading.read(folder)


@pytest.mark.slow
@pytest.mark.django_db
def test_the_encoder_in_use_goes_on_when_another_is_refused(folder):
    bundled = sources.find(BUNDLED)
    space = Space(name=BUNDLED, revision=bundled.revision, dimensions=256)
    encoder = registry.load(space)
    before = encoder.encode_texts(["a red boat"])
    write_nan(folder)
    with pytest.raises(EncoderUnavailable, match=r"holds no encoder .* no numbers"):
        opening.open_source(sources.find(str(folder)))
    assert registry.load(space) is encoder
    np.testing.assert_array_equal(encoder.encode_texts(["a red boat"]), before)
