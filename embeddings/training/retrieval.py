"""How well images that were held out are found by their captions, and captions by their images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embeddings import measures
from embeddings.measures import Pairs
from embeddings.training.contract import Learner
from embeddings.vectors import Vectors, normalise

AT_ONCE = 64
KS = (1, 5, 10)


@dataclass(frozen=True)
class Retrieval:
    """R@1, R@5 and R@10: the share of queries that find what belongs to them so early."""

    images: int
    captions: int
    text_to_image: tuple[float, ...]
    image_to_text: tuple[float, ...]

    @property
    def score(self) -> float:
        """Their mean, by which one epoch is better than another."""
        return float(np.mean([*self.text_to_image, *self.image_to_text]))

    def figures(self) -> dict[str, float]:
        ways = {"text to image": self.text_to_image, "image to text": self.image_to_text}
        return {
            f"{way} R@{k}": figure
            for way, figures in ways.items()
            for k, figure in zip(KS, figures, strict=True)
        }


@dataclass(frozen=True)
class HeldOut:
    captions: Sequence[tuple[str, ...]]  # of each image
    images: NDArray[Any]
    prepared: Callable[[NDArray[Any]], Tensor]

    def measure(self, learner: Learner) -> Retrieval:
        """Encode them all, and rank. The learner's random numbers stay as they were."""
        texts = sorted({text for captions in self.captions for text in captions})
        row_by_text = {text: row for row, text in enumerate(texts)}
        image_rows = np.repeat(np.arange(len(self.captions)), [len(c) for c in self.captions])
        text_rows = np.array([row_by_text[text] for captions in self.captions for text in captions])
        was_training = learner.training
        learner.eval()
        with torch.inference_mode():
            images = _encoded(self._image_features(learner))
            text_vectors = _encoded(
                learner.text_features(texts[start : start + AT_ONCE])
                for start in range(0, len(texts), AT_ONCE)
            )
        learner.train(was_training)
        return Retrieval(
            images=len(images),
            captions=len(texts),
            text_to_image=_successes(text_vectors, images, text_rows, image_rows),
            image_to_text=_successes(images, text_vectors, image_rows, text_rows),
        )

    def _image_features(self, learner: Learner) -> Iterator[Tensor]:
        for start in range(0, len(self.images), AT_ONCE):
            rows = np.asarray(self.images[start : start + AT_ONCE])
            yield learner.image_features(self.prepared(rows))


def _encoded(features: Iterator[Tensor]) -> Vectors:
    return normalise(np.concatenate([some.float().cpu().numpy() for some in features]))


def _successes(
    queries: Vectors, candidates: Vectors, rows: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[float, ...]:
    """R@k of queries; `rows` and `ids` say which candidates belong to which queries."""
    order = np.lexsort((ids, rows))
    pairs = Pairs(rows[order], ids[order], np.ones(len(rows)))
    ranked = measures.rank(queries, pairs, lambda: [(np.arange(len(candidates)), candidates)])
    return tuple(float(measures.success_at_k(ranked, k).mean()) for k in KS)
