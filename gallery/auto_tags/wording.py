"""Prompts and templates of an auto tag, checked, and the texts and vectors they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from embeddings.vectors import Vectors, normalise
from gallery import texts
from gallery.errors import AutoTagInvalid, ImageRefused

MAX_PROMPTS = 20
MAX_TEMPLATES = 20
MAX_TEXTS = 100  # prompts times templates: so many are encoded when it changes
MAX_TEXT = 200  # characters
PLACE = "{}"  # of the prompt, in a template

# Several wordings of one thing average out what is peculiar to each.
TEMPLATES = ("{}", "a photo of {}", "a picture of {}", "a close-up of {}")


@dataclass(frozen=True)
class Wording:
    """What an auto tag looks for: an image that one of the prompts describes."""

    prompts: tuple[str, ...]
    templates: tuple[str, ...] = TEMPLATES

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps([self.prompts, self.templates]).encode()).hexdigest()

    @property
    def texts(self) -> list[str]:
        """Every prompt in every template: the templates of the first prompt, then the next."""
        return [
            template.replace(PLACE, prompt)
            for prompt in self.prompts
            for template in self.templates
        ]

    def vectors(self, encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
        """Return a vector for each prompt, (prompts, d): the mean over its templates.

        Of the normalised text vectors, as in Radford et al. 2021, section 3.1.4.
        """
        encoded = encode(self.texts)
        means = encoded.reshape(len(self.prompts), len(self.templates), -1).mean(axis=1)
        return normalise(means)


def read(prompts: Iterable[str], templates: Iterable[str] = ()) -> Wording:
    """Return a wording, cleaned. Raise AutoTagInvalid with a sentence for one that cannot be."""
    wording = Wording(_lines(prompts, "prompt", MAX_PROMPTS), read_templates(templates))
    if not wording.prompts:
        raise AutoTagInvalid("Write at least one prompt: what an image shows that gets the tag.")
    if len(wording.texts) > MAX_TEXTS:
        raise AutoTagInvalid(
            f"{len(wording.prompts)} prompts in {len(wording.templates)} templates are "
            f"{len(wording.texts)} texts; {MAX_TEXTS} are allowed."
        )
    return wording


def read_templates(written: Iterable[str]) -> tuple[str, ...]:
    """Return templates, cleaned: the usual ones where there are none. Raise AutoTagInvalid."""
    templates = _lines(written, "template", MAX_TEMPLATES) or TEMPLATES
    for template in templates:
        if template.count(PLACE) != 1:
            raise AutoTagInvalid(f"The template “{template}” needs {PLACE} once, for the prompt.")
    return templates


def packed(vectors: Vectors) -> bytes:
    return np.ascontiguousarray(vectors, dtype="<f4").tobytes()


def unpacked(stored: bytes | memoryview, dimensions: int) -> Vectors:
    """Return stored vectors, (prompts, d)."""
    numbers = np.frombuffer(stored, dtype="<f4").astype(np.float32)
    return numbers.reshape(-1, dimensions)


def _lines(written: Iterable[str], name: str, most: int) -> tuple[str, ...]:
    try:
        lines = [texts.line(one, name=name, longest=MAX_TEXT) for one in written]
    except ImageRefused as error:
        raise AutoTagInvalid(str(error)) from error
    unique = tuple(dict.fromkeys(filter(None, lines)))
    if len(unique) > most:
        raise AutoTagInvalid(f"These are {len(unique)} {name}s; {most} are allowed.")
    return unique
