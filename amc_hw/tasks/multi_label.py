"""Multi-label classification: a score for each of several labels that an image may have, compared by mean AP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data, Part
from amc_hw.data.labels import is_multi_label, quality
from amc_hw.errors import UnsupportedModelError
from amc_hw.policy import MEAN_AP
from amc_hw.search.scoring import NetworkScore, OwnScore
from amc_hw.tasks.classification import EVALUATION_BATCH, Classification
from amc_hw.tasks.goal import Writes, runnable
from amc_hw.tasks.probabilities import gives_probabilities
from amc_hw.training.compute import CPU

LOOKED_AT = 64
"""Training images that tell scores from probabilities."""


def classification(data: Data, compute: torch.device = CPU) -> Classification:
    """Return what a network is for, by what its images are labelled with: one class each, or several labels."""
    return (MultiLabelClassification if is_multi_label(data.train.labels) else Classification)(data, compute)


@dataclass(frozen=True)
class MultiLabelClassification(Classification):
    """Telling which of several labels an image has; see `amc_hw.tasks.goal.Goal`.

    The score is no share of images that are right, so that policies are scored on all of the validation split, and no
    statistics of single images are asked.
    """

    @property
    def metric(self) -> str:
        """Mean average precision."""
        return MEAN_AP

    @property
    def search_images(self) -> None:
        """A score is no accuracy."""
        return

    def require_fit(self, model: nn.Module) -> None:
        """Refuse a network whose output is not one score for each label, or a probability behind a sigmoid."""
        super().require_fit(model)
        require_scores(model, self.data.train.first(LOOKED_AT, seed=0)[0].cpu())

    def score(self, write: Writes | None = None) -> NetworkScore:
        """Return the mean average precision on the validation split."""
        if write is None:
            return OwnScore(self.validate)
        return OwnScore(lambda model: _score_of_file(write, model, self.data.search))


def require_scores(model: nn.Module, images: Tensor) -> None:
    """Raise UnsupportedModelError where a network gives probabilities: its losses are of scores before the sigmoid."""
    if gives_probabilities(model, images):
        raise UnsupportedModelError(
            "all scores of the network are between 0 and 1, as behind a sigmoid; give the network without its last "
            "sigmoid, which orders images alike."
        )


def _score_of_file(write: Writes, model: nn.Module, part: Part) -> float:
    file = runnable(write, model)
    if file is None:
        return 0.0
    given = [torch.from_numpy(file(images.cpu().numpy())).flatten(1) for images, _ in part.batches(EVALUATION_BATCH)]
    return quality(torch.cat(given), part.labels.cpu())
