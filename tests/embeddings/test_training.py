from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from embeddings.encoders.huggingface import TorchEncoder
from embeddings.encoders.sources import BUNDLED_FOLDER, Source
from embeddings.training import card, courses
from embeddings.training.drawn import (
    HELD_OUT,
    DrawnOptions,
    FactTable,
    say_about,
)
from embeddings.training.evaluation import FIRST_SEED, evaluate
from embeddings.training.loop import Training
from embeddings.training.loss import contrastive_loss
from embeddings.training.optimization import learning_rate_share
from embeddings.training.options import TrainingOptions
from embeddings.training.tokenizer import UNKNOWN, build_tokenizer
from scenes import compose, demo, describe, draw
from scenes.gallery import PROMISED_SEEDS
from tests.embeddings.trainer import TINY

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def bundled() -> TorchEncoder:
    source = Source("bundled", "test", BUNDLED_FOLDER)
    return TorchEncoder(source, device="cpu", precision="float32")


def test_truth_by_matrix_is_the_truth_of_the_scenes():
    random = Random(0)
    scenes = [compose(seed) for seed in range(60)]
    statements = [statement for scene in scenes for statement in say_about(scene, random)]
    truth = FactTable(scenes).truth(statements, scenes)
    assert truth.tolist() == [[said.is_true_of(scene) for scene in scenes] for said in statements]


def test_a_statement_with_a_fact_no_scene_has_is_true_of_none():
    seen, other = compose(0), compose(1)
    statements = say_about(other, Random(0))
    assert not FactTable([seen]).truth(statements, [seen]).any()


def test_training_says_nothing_of_pairs_held_out():
    random = Random(0)
    for seed in range(300):
        for statement in say_about(compose(seed, without=HELD_OUT), random):
            assert not {(said.colour, said.thing) for said in statement.mentions} & HELD_OUT


def test_true_pairs_are_no_negatives():
    truth = torch.tensor([[True, True, False], [False, True, False]])
    scores = torch.zeros(2, 3)
    raised = scores.clone()
    raised[0, 1] = 5.0  # true, though not on the diagonal
    assert contrastive_loss(raised, truth) < contrastive_loss(scores, truth)


def test_the_contrastive_loss_is_that_of_its_paper_where_each_text_has_one_image():
    scores = torch.randn(5, 5, generator=torch.manual_seed(0))
    own = torch.arange(5)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
    truth = torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(contrastive_loss(scores, truth), expected)


def test_loss_has_a_gradient_where_everything_or_nothing_is_true():
    scores = torch.zeros(2, 3, requires_grad=True)
    contrastive_loss(scores, torch.tensor([[True, True, True], [False, False, False]])).backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_the_learning_rate_rises_and_then_falls_to_nothing():
    shares = [learning_rate_share(step, steps=100, warm_up=5) for step in range(101)]
    assert max(shares) == shares[5] == 1.0
    assert shares[0] < shares[4]
    assert shares[5:] == sorted(shares[5:], reverse=True)
    assert shares[-1] == pytest.approx(0)


def test_the_tokenizer_marks_words_it_never_read():
    tokenizer = build_tokenizer(["a red boat", "two boats at night"], longest=16)
    tokens = tokenizer.tokenize("Two RED zebras, at night!")
    assert tokens == ["two", "red", UNKNOWN, "at", "night"]


def test_the_tokenizer_learns_what_an_unknown_word_is_from_those_that_are_rare():
    tokenizer = build_tokenizer(["a red boat", "A red, red zebra"], longest=16, fewest=2)
    assert tokenizer.tokenize("a red zebra") == ["a", "red", UNKNOWN]


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_and_leave_an_encoder_that_loads(tmp_path: Path):
    options = TrainingOptions(epochs=4, batch_size=32)
    drawn = DrawnOptions(scenes=64, architecture=TINY)
    course = courses.of_scenes(drawn, options)
    _, first, *_, last = Training(course, tmp_path).epochs()
    assert last["loss"] < first["loss"]
    course.learner.checkpoint().save(tmp_path / "encoder")
    source = Source("tiny", "test", tmp_path / "encoder")
    encoder = TorchEncoder(source, device="cpu", precision="float32")
    figures = evaluate(encoder, scene_count=20)
    card.of_scenes("manage.py train scenes", options, figures.rows()).write(tmp_path)
    assert encoder.dimensions == TINY.dimensions
    assert "recall@10" in (tmp_path / card.CARD).read_text()


def test_the_bundled_folder_is_small_and_holds_no_code():
    files = list(BUNDLED_FOLDER.iterdir())
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".md", ".csv", ".png"}
    assert sum(file.stat().st_size for file in files) <= 15 * MEGABYTE


def test_the_bundled_encoder_loads_with_plain_transformers():
    model = AutoModel.from_pretrained(BUNDLED_FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_FOLDER)
    processor = AutoImageProcessor.from_pretrained(BUNDLED_FOLDER, backend="pil")
    pixels = processor(images=[draw(compose(0), (200, 100))], return_tensors="pt")
    images = model.get_image_features(**pixels).pooler_output
    texts = model.get_text_features(**tokenizer("a red boat", return_tensors="pt")).pooler_output
    assert images.shape == texts.shape
    assert model.dtype == torch.float32


def test_padding_does_not_change_the_vector_of_a_text(bundled: TorchEncoder):
    alone = bundled.encode_texts(["a red boat"])[0]
    padded = bundled.encode_texts(["a red boat", "two small blue cats left of a big house by day"])
    np.testing.assert_allclose(padded[0], alone, atol=1e-5)


def test_the_bundled_encoder_says_which_words_it_does_not_know(bundled: TorchEncoder):
    assert bundled.unknown_words("two red zebras at night") == ("zebras",)
    assert bundled.unknown_words(describe(compose(0))) == ()


@pytest.mark.slow
def test_the_bundled_encoder_finds_unseen_scenes_by_their_captions(bundled: TorchEncoder):
    figures = evaluate(bundled, scene_count=600)
    assert figures.recall_at_1 >= 0.9
    assert figures.recall_at_10 >= 0.99
    assert figures.thing.mean >= 0.95
    assert figures.coloured_thing.mean >= 0.75


@pytest.mark.slow
def test_two_red_boats_at_night_come_first_in_the_demo(bundled: TorchEncoder):
    scenes = list(demo(400))
    images = bundled.encode_images([draw(scene, (160, 120)) for scene in scenes])
    scores = images @ bundled.encode_texts(["two red boats at night"])[0]
    assert {scenes[k].seed for k in np.argsort(-scores)[:3]} <= set(PROMISED_SEEDS)


def test_evaluation_scenes_are_far_from_those_of_training_and_demo():
    assert DrawnOptions().scenes < min(scene.seed for scene in demo(4)) < FIRST_SEED
