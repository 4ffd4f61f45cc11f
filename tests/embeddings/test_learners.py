from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from embeddings.encoders.framing import Framing
from embeddings.encoders.huggingface import TorchEncoder
from embeddings.encoders.sources import BUNDLED, BUNDLED_FOLDER, Source, find
from embeddings.errors import TrainingFailed
from embeddings.training import checkpoint, courses
from embeddings.training.adapter import Adapter
from embeddings.training.augmentation import Augmentation
from embeddings.training.drawn import drawn_examples
from embeddings.training.examples import Example, ExampleUnreadable, Room, Split
from embeddings.training.loop import Training
from embeddings.training.loss import batch_loss, highest_scale, sigmoid_loss
from embeddings.training.options import Base, Loss, Method, TrainingOptions
from embeddings.training.pairs import truth
from embeddings.training.sight import Sight, frames_of, larger
from embeddings.training.towers import Towers, trainable
from scenes import Colour, compose, draw
from tests.embeddings import colours
from tests.encoders import make_encoder, write_json

FAST = TrainingOptions(epochs=6, batch_size=32, threads=1, learning_rate=3e-3, patience=6)


def lessons(examples, folder: Path) -> courses.Lessons:
    return courses.Lessons(examples, Split(share=0.2, seed=0), Augmentation(), Room(folder))


def source_of(folder: Path) -> Source:
    return Source(str(folder), "test", folder)


def gradients(learner: Towers) -> dict[str, torch.Tensor]:
    return {name: one.grad for name, one in trainable(learner) if one.grad is not None}


def renamed(count: int):
    """Drawn scenes in whose captions each colour goes by the name of the next one."""
    names = list(map(str, Colour))
    next_by_name = dict(zip(names, names[1:] + names[:1], strict=True))
    for example in drawn_examples(count, seed=3):
        captions = tuple(
            " ".join(next_by_name.get(word, word) for word in text.split())
            for text in example.captions
        )
        yield Example(example.key, captions, example.open)


@pytest.mark.parametrize("kind", ["clip", "siglip", "dual"])
@pytest.mark.parametrize("method", [Method.WHOLE, Method.LAST, Method.LORA])
@pytest.mark.slow
def test_a_base_learns_colours_and_is_found_better_afterwards(tmp_path, kind, method):
    if method is Method.LORA:
        pytest.importorskip("peft")
    source = source_of(make_encoder(kind, tmp_path / "base"))
    (tmp_path / "run").mkdir()
    course = courses.of_examples(
        lessons(colours.examples(160), tmp_path / "run"), Base(method=method), source, FAST
    )
    before, *after = Training(course, tmp_path / "run").epochs()
    assert after[-1]["loss"] < after[0]["loss"]
    assert after[-1]["text to image R@1"] > before["text to image R@1"]
    course.learner.checkpoint().save(tmp_path / "encoder")
    encoder = TorchEncoder(source_of(tmp_path / "encoder"), device="cpu", precision="float32")
    features = course.learner.text_features(["a red house"])
    expected = torch.nn.functional.normalize(features).detach().numpy()
    np.testing.assert_allclose(encoder.encode_texts(["a red house"]), expected, atol=1e-5)


@pytest.fixture(scope="module")
def read_once(tmp_path_factory) -> Path:
    """A folder in which examples stay when they were read."""
    folder: Path = tmp_path_factory.mktemp("read")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("loss", Loss)
def test_an_adapter_learns_other_names_of_colours_in_seconds(tmp_path, read_once, loss):
    options = TrainingOptions(
        epochs=20, batch_size=64, threads=1, patience=5, precision="float32", loss=loss
    )
    course = courses.of_examples(
        lessons(renamed(240), read_once), Base(method=Method.ADAPTER), find(BUNDLED), options
    )
    training = Training(course, tmp_path)
    before = next(training.epochs())
    list(training.epochs())
    assert training.kept["text to image R@1"] > before["text to image R@1"] + 0.1
    assert training.kept["score"] > before["score"]


@pytest.mark.parametrize("kind", ["clip", "siglip", "dual"])
def test_what_an_adapter_learnt_is_in_the_folder_that_any_loader_takes(tmp_path, kind):
    source = source_of(make_encoder(kind, tmp_path / "base"))
    parts = checkpoint.load(source)
    base = TorchEncoder(source, device="cpu", precision="float32")
    texts, images = ["a red boat", "two cats"], [draw(compose(seed), (64, 48)) for seed in (0, 1)]
    adapter = Adapter(
        parts, base.encode_texts(texts), {"a red boat": 0, "two cats": 1}, Loss.CONTRASTIVE
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for _, change in trainable(adapter):
            if change.ndim:
                change += 0.1 * torch.randn_like(change)
    adapter.checkpoint().save(tmp_path / "encoder")
    saved = TorchEncoder(source_of(tmp_path / "encoder"), device="cpu", precision="float32")
    for features, vectors in (
        (adapter.text_features(texts), saved.encode_texts(texts)),
        (
            adapter.image_features(torch.from_numpy(base.encode_images(images))),
            saved.encode_images(images),
        ),
    ):
        expected = torch.nn.functional.normalize(features).detach().numpy()
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("loss", Loss)
def test_gradients_in_parts_are_those_of_the_whole_batch(tmp_path, loss):
    source = source_of(make_encoder("clip", tmp_path / "base"))
    found = []
    for chunk_size in (0, 5):
        options = TrainingOptions(
            epochs=1, batch_size=16, chunk_size=chunk_size, precision="float32", loss=loss
        )
        folder = tmp_path / f"run{chunk_size}"
        folder.mkdir()
        course = courses.of_examples(
            lessons(colours.examples(60), folder), Base(method=Method.WHOLE), source, options
        )
        training = Training(course, folder)
        batch = course.data.batch(range(16), Random(0))
        training._add_gradients(batch)
        found.append(gradients(course.learner))
    whole, parts = found
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-5, rtol=1e-4)


def test_the_sigmoid_loss_is_that_of_its_paper():
    scores = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    signs = 2 * torch.eye(2) - 1
    expected = -torch.log(torch.sigmoid(signs * scores)).sum() / 2
    torch.testing.assert_close(sigmoid_loss(scores, torch.eye(2, dtype=torch.bool)), expected)


def test_the_sigmoid_loss_begins_with_the_share_of_true_pairs(tmp_path):
    parts = checkpoint.load(source_of(make_encoder("clip", tmp_path)))
    towers = Towers(parts, Base(method=Method.WHOLE), Loss.SIGMOID)
    torch.manual_seed(0)
    features = torch.randn(2, 40, 24)
    batch_loss(towers, Loss.SIGMOID, *features, torch.eye(40, dtype=torch.bool))
    cosines = (
        torch.nn.functional.normalize(features[1]) @ torch.nn.functional.normalize(features[0]).T
    )
    chances = torch.sigmoid(towers.scale.exp() * cosines + towers.bias)
    assert 1 / 120 < chances.median() < 1 / 13


@pytest.mark.slow
def test_a_scale_beyond_its_bound_is_not_cut_and_still_learns(tmp_path):
    source = source_of(make_encoder("siglip", tmp_path / "base"))
    (tmp_path / "run").mkdir()
    course = courses.of_examples(
        lessons(colours.examples(60), tmp_path / "run"), Base(method=Method.WHOLE), source, FAST
    )
    scale = course.learner.scale
    with torch.no_grad():
        scale.fill_(4.76)  # as SigLIP's own: cosines times 117
    assert highest_scale(course.learner, Loss.SIGMOID) == float("inf")
    training = Training(course, tmp_path / "run")
    rows = training.epochs()
    assert next(rows)["scale"] == pytest.approx(116.7, abs=0.1)
    assert next(rows)["scale"] < 116.6
    with torch.no_grad():
        scale.fill_(6.0)
    training._step(course.data.batch(range(16), Random(0)))
    assert scale.item() == pytest.approx(4.76)


def test_last_leaves_all_before_the_last_layers_as_it_is(tmp_path):
    parts = checkpoint.load(source_of(make_encoder("siglip", tmp_path)))
    towers = Towers(parts, Base(method=Method.LAST, last_layers=1), Loss.CONTRASTIVE)
    names = {name for name, _ in trainable(towers)}
    assert any(".layers.1." in name for name in names)
    assert not any(".layers.0." in name or "embeddings" in name for name in names)


def test_a_text_is_true_of_every_image_that_has_it():
    captions = [("a dog", "a brown dog"), ("a dog",), ("a cat",)]
    assert truth(["a brown dog", "a dog", "a cat"], captions).int().tolist() == [
        [1, 0, 0],
        [1, 1, 0],
        [0, 0, 1],
    ]
    assert truth(["A dog."], [("a dog",), ("a dog!", "a cat"), ("dogs",)]).tolist() == [
        [True, True, False]
    ]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_learner_is_shown_what_the_encoders_own_processor_shows(tmp_path, kind):
    parts = checkpoint.load(source_of(make_encoder(kind, tmp_path))).parts
    picture = draw(compose(5), (150, 90))
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    expected = processor(images=[picture], return_tensors="pt")["pixel_values"]
    shown = Sight.of(parts, "cpu").as_they_are(frames_of(parts.framing, [picture]))
    torch.testing.assert_close(shown, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("shorter", [0, 32, 40])
def test_a_larger_frame_shows_the_same_part_of_an_image(shorter):
    framing = Framing(width=32, height=32, shorter=shorter)
    picture = draw(compose(5), (300, 180))
    large = Image.fromarray(frames_of(larger(framing), [picture])[0])
    seen = frames_of(framing, [picture])[0].astype(float)
    assert large.size > (32, 32)
    assert np.abs(np.asarray(large.resize((32, 32))) - seen).mean() < 4


def test_augmented_pictures_keep_their_range_and_their_place():
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (8, 3, 40, 40), dtype=torch.uint8)
    plain = Augmentation(smallest_area=1).of(pictures, (40, 40))
    cut = Augmentation(smallest_area=0.5, is_mirrored=True).of(pictures, (24, 32))
    assert (plain.shape, cut.shape) == ((8, 3, 40, 40), (8, 3, 24, 32))
    assert float(cut.min()) >= 0
    assert float(cut.max()) <= 1
    assert float((plain - pictures / 255).abs().mean()) < 0.1


def test_an_image_is_held_out_by_its_key_alone():
    split, other = Split(share=0.2, seed=0), Split(share=0.2, seed=1)
    held = {key for key in map(str, range(1000)) if split.holds_out(key)}
    assert 150 < len(held) < 250
    assert held != {key for key in map(str, range(1000)) if other.holds_out(key)}


def test_what_cannot_be_read_is_left_out_and_too_few_are_refused(tmp_path):
    def unreadable(edge: int):
        raise ExampleUnreadable("Image 7 cannot be read: it is gone")

    def course(examples):
        return courses.of_examples(
            lessons(examples, tmp_path), Base(method=Method.ADAPTER), find(BUNDLED), FAST
        )

    broken = [Example(str(k), ("a red house",), unreadable) for k in range(30)]
    with pytest.raises(TrainingFailed, match="Left out were 30"):
        course(broken)
    more = course([*broken, *colours.examples(60)])
    assert len(more.data) + len(more.held_out.images) == 60


def test_a_disk_that_is_nearly_full_is_not_filled(tmp_path):
    full = replace(lessons(colours.examples(60), tmp_path), room=Room(tmp_path, 2**62))
    with pytest.raises(TrainingFailed, match="nearly full"):
        courses.of_examples(full, Base(method=Method.ADAPTER), find(BUNDLED), FAST)
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_a_method_does_not_suit_is_refused_before_images_are_read(tmp_path):
    def unread():
        raise AssertionError
        yield

    start = checkpoint.load(find(BUNDLED))
    start.parts.model.text_projection = torch.nn.Sequential()
    with pytest.raises(TrainingFailed, match="use another method"):
        courses._adapter(lessons(unread(), tmp_path), start, find(BUNDLED), FAST)


def test_an_image_whose_vector_is_known_is_not_opened(tmp_path):
    def never(edge: int):
        raise AssertionError

    encoder = TorchEncoder(find(BUNDLED), device="cpu", precision="float32")
    some = list(colours.examples(80))
    vectors = encoder.encode_images([example.open(96) for example in some])
    known = [
        replace(example, open=never, vector=vector) if number % 3 else example
        for number, (example, vector) in enumerate(zip(some, vectors, strict=True))
    ]
    read = []
    for examples in (some, known):
        folder = tmp_path / str(len(read))
        folder.mkdir()
        course = courses.of_examples(
            lessons(examples, folder), Base(method=Method.ADAPTER), find(BUNDLED), FAST
        )
        read.append(np.concatenate([course.data.part.images, course.held_out.images]))
    np.testing.assert_allclose(*read, atol=1e-4)


def test_a_second_asking_reads_no_image_again(tmp_path):
    def course(examples):
        return courses.of_examples(
            lessons(examples, tmp_path), Base(method=Method.ADAPTER), find(BUNDLED), FAST
        )

    first = course(colours.examples(60))
    assert course(iter(())).data.part.captions == first.data.part.captions


def test_a_rate_that_is_too_high_is_told(tmp_path):
    source = source_of(make_encoder("clip", tmp_path / "base"))
    (tmp_path / "run").mkdir()
    course = courses.of_examples(
        lessons(colours.examples(60), tmp_path / "run"), Base(method=Method.WHOLE), source, FAST
    )
    with torch.no_grad():
        course.learner.model.text_projection.weight.fill_(torch.nan)
    course.learner.text_features = lambda texts: torch.full((len(texts), 24), torch.nan)
    training = Training(course, tmp_path / "run")
    training.standing.rows.append({})
    with pytest.raises(TrainingFailed, match="--learning-rate"):
        training._learn()


def test_no_base_is_changed_on_disk(tmp_path):
    before = {file.name: file.read_bytes() for file in BUNDLED_FOLDER.iterdir()}
    course = courses.of_examples(
        lessons(colours.examples(60), tmp_path), Base(method=Method.ADAPTER), find(BUNDLED), FAST
    )
    course.learner.checkpoint().save(tmp_path / "encoder")
    assert {file.name: file.read_bytes() for file in BUNDLED_FOLDER.iterdir()} == before
    assert type(AutoModel.from_pretrained(tmp_path / "encoder")).__name__ == "CLIPModel"


def test_a_base_of_sentence_transformers_becomes_a_folder_that_any_loader_takes(tmp_path):
    make_encoder("clip", tmp_path / "base" / "0_CLIPModel")
    step = {"idx": 0, "name": "0", "path": "0_CLIPModel",
            "type": "sentence_transformers.models.CLIPModel"}  # fmt: skip
    write_json(tmp_path / "base" / "modules.json", [step])
    source = source_of(tmp_path / "base")
    checkpoint.load(source).save(tmp_path / "encoder")
    base, trained = (
        TorchEncoder(one, device="cpu", precision="float32")
        for one in (source, source_of(tmp_path / "encoder"))
    )
    assert np.array_equal(base.encode_texts(["a boat"]), trained.encode_texts(["a boat"]))


@pytest.mark.parametrize("name", ["bundled+bundled", "bundled#crops"])
def test_a_pair_or_another_manner_is_not_trained_further(name):
    with pytest.raises(TrainingFailed, match="cannot be trained further"):
        checkpoint.load(find(name))
