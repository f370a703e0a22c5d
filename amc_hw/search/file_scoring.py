"""Scoring networks as the files that ship: written, quantized, and run by the runtime that will run them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.registry import FileModel
from amc_hw.search.scoring import BATCH, PartScorer

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileScorer(PartScorer):
    """Top-1 accuracy on a part of the training set of the file that a network becomes.

    Attributes:
        write: a network on the CPU to what runs its file.
    """

    write: Callable[[nn.Module], FileModel] = field(kw_only=True)

    def prepared(self, model: nn.Module) -> Any:
        """Return what runs the network's file, or None where there can be no such file."""
        try:
            return self.write(model.cpu())
        except UnsupportedModelError as error:
            _LOG.warning("a policy counts as wrong on every image, because it has no file that runs: %s", error)
            return None

    def _logits(self, prepared: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
        chosen = self._chosen(positions)
        labels = chosen.labels.cpu()
        if prepared is None:
            wrong = torch.zeros(len(labels), int(self.part.labels.max()) + 1)
            return wrong.scatter(1, labels[:, None], -1.0), labels
        logits = [torch.from_numpy(prepared(images.cpu().numpy())) for images, _ in chosen.batches(BATCH)]
        return torch.cat(logits).flatten(1).float(), labels
