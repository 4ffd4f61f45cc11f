"""Batches of images with captions that people wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embeddings.training.contract import Batch
from embeddings.training.examples import Part

Captions = tuple[str, ...]  # of one image


@dataclass(frozen=True)
class PairData:
    """Of several captions of an image, one at random each time."""

    part: Part
    prepared: Callable[[NDArray[Any]], Tensor]  # rows of the part as the learner takes them

    def __len__(self) -> int:
        return len(self.part)

    def order(self, random: Random) -> list[int]:
        numbers = list(range(len(self.part)))
        random.shuffle(numbers)
        return numbers

    def batch(self, chosen: Sequence[int], random: Random) -> Batch:
        captions = [self.part.captions[k] for k in chosen]
        texts = [random.choice(some) for some in captions]
        return Batch(
            self.prepared(np.asarray(self.part.images[chosen])), texts, truth(texts, captions)
        )


def truth(texts: Sequence[str], captions: Sequence[Captions]) -> Tensor:
    """Booleans of shape (texts, images): a text is true of each image that has it as a caption.

    Two images of "a dog" are no false pairs of each other's captions, nor is one of "A dog.".
    """
    images_by_text: dict[str, list[int]] = defaultdict(list)
    for image, some in enumerate(captions):
        for text in some:
            images_by_text[_plain(text)].append(image)
    matrix = torch.zeros(len(texts), len(captions), dtype=torch.bool)
    for row, text in enumerate(texts):
        matrix[row, images_by_text[_plain(text)]] = True
    return matrix


def _plain(text: str) -> str:
    return text.casefold().rstrip(" .!")
