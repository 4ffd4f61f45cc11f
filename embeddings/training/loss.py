"""The two losses, and what a step does with one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embeddings.training.contract import Learner
from embeddings.training.options import Loss

HIGHEST_SCALE = math.log(100)  # as in CLIP


def batch_loss(
    learner: Learner, loss: Loss, images: Tensor, texts: Tensor, truth: Tensor
) -> Tensor:
    """The loss of the features of images and texts, of which `truth` says which belong together."""
    cosines = _unit(texts) @ _unit(images).T
    scores = learner.scale.exp() * cosines
    if loss is Loss.CONTRASTIVE:
        return contrastive_loss(scores, truth)
    bias = learner.bias
    assert bias is not None, "a learner of the sigmoid loss has a bias"
    if bias.isnan():
        # At first any pair is held for true as often as pairs are: else the first steps would do
        # nothing but learn that most are false. (Zhai et al. begin with -10, for a batch of 32k.)
        share = truth.float().mean().clamp(1e-6, 0.5)
        with torch.no_grad():
            bias.copy_(share.log() - (1 - share).log() - scores.mean())
    return sigmoid_loss(scores + bias, truth)


def highest_scale(learner: Learner, loss: Loss) -> float:
    """Return what a learner's scale may grow to, which begins as it is now.

    CLIP's is bounded. The sigmoid loss knows no bound: SigLIP has learnt 117, not 100, and that of
    a base is never lowered.
    """
    if loss is Loss.SIGMOID:
        return math.inf
    return max(HIGHEST_SCALE, learner.scale.item())


def contrastive_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """Symmetric contrastive loss for scores and truth of shape (texts, images).

    The loss of CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural
    Language Supervision") calls every pair of a batch false but the diagonal. Here a text may be
    true of several images or of none, so a true pair competes with the false ones only, and a
    text or an image without a true pair adds nothing of its own.
    """
    return (_one_way(scores, truth) + _one_way(scores.T, truth.T)) / 2


def sigmoid_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """Sigmoid loss for scores and truth of shape (texts, images).

    Every pair is a question of its own: is it true? (Zhai et al. 2023, "Sigmoid Loss for Language
    Image Pre-Training".) Summed over pairs, and divided by the number of texts.
    """
    signed = torch.where(truth, scores, -scores)
    return -torch.nn.functional.logsigmoid(signed).sum() / len(scores)


def _one_way(scores: Tensor, truth: Tensor) -> Tensor:
    """For every row, -log softmax of each true score among the false ones, averaged."""
    # Not minus infinity: a row without a false pair would have no gradient.
    falsehood = scores.masked_fill(truth, -1e4).logsumexp(dim=1, keepdim=True)
    losses = torch.nn.functional.softplus(falsehood - scores).masked_fill(~truth, 0.0)
    true_count = truth.sum(dim=1)
    has_truth = true_count > 0
    return (losses.sum(dim=1)[has_truth] / true_count[has_truth]).mean()


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=-1)
