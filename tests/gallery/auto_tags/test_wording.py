from __future__ import annotations

import numpy as np
import pytest

from embeddings.vectors import normalise
from gallery.auto_tags import wording
from gallery.errors import AutoTagInvalid


def test_lines_are_trimmed_and_kept_once():
    read = wording.read([" a red  boat ", "", "a red boat", "a ship"], ["{}", "a photo of {}"])
    assert read.prompts == ("a red boat", "a ship")
    assert read.texts == ["a red boat", "a photo of a red boat", "a ship", "a photo of a ship"]


def test_without_templates_there_are_the_usual_ones():
    assert wording.read(["a boat"], ["", " "]).templates == wording.TEMPLATES


@pytest.mark.parametrize(
    ("prompts", "templates", "sentence"),
    [
        ([], [], "at least one prompt"),
        (["a boat"], ["a photo"], "needs {} once"),
        (["a boat"], ["{} or {}"], "needs {} once"),
        (["x" * 201], [], "201 characters"),
        (["a\x00b"], [], "control characters"),
        ([str(n) for n in range(21)], ["{}"], "20 are allowed"),
        (["a"], [f"{n} {{}}" for n in range(21)], "20 are allowed"),
        ([str(n) for n in range(20)], [f"{n} {{}}" for n in range(6)], "120 texts; 100"),
    ],
)
def test_what_cannot_be_a_wording_is_a_sentence(prompts, templates, sentence):
    with pytest.raises(AutoTagInvalid, match=sentence):
        wording.read(prompts, templates)


def test_a_prompt_is_the_normalised_mean_of_its_templates():
    vectors = {
        text: normalise(np.random.default_rng(n).normal(size=8))
        for n, text in enumerate(["a", "see a", "b", "see b"])
    }
    found = wording.read(["a", "b"], ["{}", "see {}"]).vectors(
        lambda texts: np.stack([vectors[text] for text in texts])
    )
    for row, prompt in zip(found, "ab", strict=True):
        mean = (vectors[prompt] + vectors[f"see {prompt}"]) / 2
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_braces_of_a_prompt_are_no_place_for_another():
    assert wording.read(["a {} b"], ["see {}"]).texts == ["see a {} b"]


def test_vectors_come_back_as_they_were_kept():
    vectors = normalise(np.random.default_rng(0).normal(size=(3, 8)))
    assert (wording.unpacked(wording.packed(vectors), 8) == vectors).all()
