"""What images are labelled with: one class each (N,), int64, or any of several labels (N, L), float32 of 0 and 1.

The latter is multi-label classification: a network gives a score for each label, whose sigmoid is its probability.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from amc_hw.policy import MEAN_AP, TOP1


def is_multi_label(labels: Tensor) -> bool:
    """Tell whether an image may have several labels, or none."""
    return labels.dim() == 2


def count_of(labels: Tensor) -> int:
    """Return how many scores a network gives: for every class, or for every label."""
    return labels.shape[1] if is_multi_label(labels) else int(labels.max()) + 1


def counted(labels: Tensor) -> str:
    """Return what is counted so."""
    return "labels" if is_multi_label(labels) else "classes"


def metric_of(labels: Tensor) -> str:
    """Return what `quality` is called."""
    return MEAN_AP if is_multi_label(labels) else TOP1


def told(scores: Tensor, labels: Tensor) -> Tensor:
    """Return what counts of scores: of classes the most probable one (N,), of labels all scores (N, L)."""
    return scores if is_multi_label(labels) else scores.argmax(1)


def quality(given: Tensor, labels: Tensor) -> float:
    """Return how good a network is, 0..1: its top-1 accuracy, or its mean average precision.

    The average precision of a label is that of the images ordered by its score, the precision at every step weighted
    by the increase of the recall; the mean is over the labels that some of the images have.

    Args:
        given: what `told` returns of its scores.
        labels: of the same images.
    """
    if not is_multi_label(labels):
        return int((given == labels).sum()) / len(labels)
    from sklearn.metrics import average_precision_score

    columns = zip(labels.T.cpu().numpy(), given.T.float().nan_to_num().cpu().numpy(), strict=True)
    found = [float(average_precision_score(wanted, scores)) for wanted, scores in columns if wanted.any()]
    return sum(found) / max(1, len(found))


def label_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of scores (N, classes or labels), in nats: of multiple labels the sum of each one's."""
    if not is_multi_label(labels):
        return F.cross_entropy(scores.float(), labels)
    every = F.binary_cross_entropy_with_logits(scores.float(), labels, reduction="none")
    return every.sum(1).mean()


def strata(labels: Tensor) -> Tensor:
    """Return what the images of a split are spread over (N,): the class, or the rarest label that an image has."""
    if not is_multi_label(labels):
        return labels
    counts = labels.sum(0).masked_fill(labels == 0, float("inf"))
    rarest = counts.argmin(1)
    return rarest.masked_fill(~labels.any(1), labels.shape[1])
