"""The contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """Symmetric contrastive loss for scores and truth of shape (texts, images).

    The loss of CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural
    Language Supervision") calls every pair of a batch false but the diagonal. Here a text may be
    true of several images or of none, so a true pair competes with the false ones only, and a
    text or an image without a true pair adds nothing of its own.
    """
    return (_one_way(scores, truth) + _one_way(scores.T, truth.T)) / 2


def _one_way(scores: Tensor, truth: Tensor) -> Tensor:
    """For every row, -log softmax of each true score among the false ones, averaged."""
    # Not minus infinity: a row without a false pair would have no gradient.
    falsehood = scores.masked_fill(truth, -1e4).logsumexp(dim=1, keepdim=True)
    losses = torch.nn.functional.softplus(falsehood - scores).masked_fill(~truth, 0.0)
    true_count = truth.sum(dim=1)
    has_truth = true_count > 0
    return (losses.sum(dim=1)[has_truth] / true_count[has_truth]).mean()
