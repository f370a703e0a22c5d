"""Scoring networks as the files that ship: written, quantized, and run by the runtime that will run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.formats.registry import FileModel
from amc_hw.search.scoring import BATCH, PartScorer


@dataclass(frozen=True)
class FileScorer(PartScorer):
    """Top-1 accuracy on a part of the training set of the file that a network becomes.

    Attributes:
        write: a network on the CPU to what runs its file.
    """

    write: Callable[[nn.Module], FileModel] = field(kw_only=True)

    def prepared(self, model: nn.Module) -> Any:
        """Return what runs the network's file."""
        return self.write(model.cpu())

    def _logits(self, prepared: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
        chosen = self._chosen(positions)
        logits = [torch.from_numpy(prepared(images.cpu().numpy())) for images, _ in chosen.batches(BATCH)]
        return torch.cat(logits).flatten(1).float(), chosen.labels.cpu()
