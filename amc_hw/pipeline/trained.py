"""What is compressed: the trained network, its data and its trace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data, has_own_size
from amc_hw.errors import UnsupportedModelError
from amc_hw.policy import Io, Precision
from amc_hw.pruning.pruner import BATCH, Pruner
from amc_hw.pruning.surgery import shrink
from amc_hw.quantize.simulated import BITS, Simulated
from amc_hw.tracing.traced import PruningChoices, TracedModel, trace_model
from amc_hw.training.compute import CPU
from amc_hw.training.recipe import recovery_batch_size
from amc_hw.training.trial import smallest_batch, try_training

CALIBRATION_IMAGES = 128
"""From which the ranges of activations are known: LiteRT's guide has a hundred or so."""
LEAST_STATISTICS, MOST_STATISTICS, STATISTICS_MACS = 640, 2560, 3.5e11
"""Images for the statistics: more of them help (2,560 images of 16 points gave a halved ResNet-20 1.4 points more than
640 of 48), and cost large networks minutes; so many as have these MACs in the original, and fit these bytes."""
STATISTICS_BYTES = 2**30
USUAL_SIZES = (32, 64, 224, 28, 48, 96, 128, 160, 192, 256, 299, 384, *range(8, 257, 8))
"""Sides that a network is tried with where it does not run, to name the one that it takes."""


@dataclass(frozen=True)
class TrainedModel(TracedModel):
    """A trained network with its data set.

    Attributes:
        data: on ``compute``, as far as they fit.
        compute: where tensors are worked on; the networks themselves stay on the CPU.
        precision: that ships.
        io: what its files take and give.
        pruned_before: what a later round prunes instead of the model: a network of the same shape, in which the
            channels that earlier rounds took are zero.
        notes: what the reader of its results should know of it, a sentence each.
    """

    data: Data
    compute: torch.device = CPU
    precision: Precision = "fp32"
    io: Io = "float32"
    pruned_before: nn.Module | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def calibration(self) -> Tensor:  # type: ignore[override]
        """Training images (N, C, H, W), on the CPU, that tell the ranges of activations."""
        return self.data.train.first(CALIBRATION_IMAGES, seed=0)[0].cpu()

    def as_shipped(self, model: nn.Module) -> nn.Module:
        """Return what computes with a network's weights as its file will, for fine-tuning and scoring.

        In fp32, and in precisions that are not simulated, that is the network itself.
        """
        if self.precision not in BITS:
            return model
        return Simulated(model, self.calibration.to(next(model.parameters()).device), self.precision)

    @property
    def start(self) -> nn.Module:
        """The network that is pruned."""
        return self.model if self.pruned_before is None else self.pruned_before


def make_trained_model(
    model: nn.Module,
    data: Data,
    allowed: PruningChoices | None = None,
    compute: torch.device = CPU,
    precision: Precision = "fp32",
) -> TrainedModel:
    """Trace a trained network; see `trace_model` and `TrainedModel`.

    Raises:
        UnsupportedModelError: the network does not tell the data's classes apart, or nothing in it can be pruned.
        UsageError: a pattern that matches no layer.
    """
    require_classes(model, data)
    traced = trace_model(model, data.image_size, allowed)
    return TrainedModel(
        traced.model, traced.example, traced.network, traced.choices, traced.name, data.on(compute), compute, precision
    )


def make_pruner(trained: TrainedModel, seed: int, importance: str = "reconstruction") -> Pruner:
    """Gather the statistics for reconstruction from images of the training split."""
    macs = trained.network.macs(trained.network.original)
    fitting = STATISTICS_BYTES // (4 * math.prod(trained.data.image_size))
    count = min(MOST_STATISTICS, max(LEAST_STATISTICS, int(STATISTICS_MACS / macs)), max(BATCH, fitting))
    images, labels = trained.data.train.first(count, seed, trained.compute)
    return Pruner(trained.start, trained.network, images, labels=labels, importance=importance)


def require_classes(model: nn.Module, data: Data) -> None:
    """Refuse a network whose output is not one score for each class: accuracy would mean nothing.

    Raises:
        UnsupportedModelError: that, or the network takes images of another size only.
    """
    try:
        output = _output(model, data.image_size)
    except Exception:
        _require_size(model, data)
        return  # another fault, which the trace names
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(
            f"the network gives a {type(output).__name__} where one tensor of class scores is needed; wrap it."
        )
    if tuple(output.shape) != (1, data.num_classes):
        raise UnsupportedModelError(
            f"the network gives scores of shape {tuple(output.shape[1:])} for an image, and {data.name} has "
            f"{data.num_classes} classes; give the network and the data that belong together."
        )


def _output(model: nn.Module, image_size: tuple[int, int, int]) -> Any:
    with torch.no_grad():
        return model.eval()(torch.zeros(1, *image_size))


def _require_size(model: nn.Module, data: Data) -> None:
    """Refuse images that a network does not run on where it takes another size."""
    channels, height, width = data.image_size
    for side in USUAL_SIZES:
        try:
            _output(model, (channels, side, side))
        except Exception:
            continue
        cure = f"write them at {side}x{side} pixels" if has_own_size(data.name) else f"give image_size={side}"
        raise UnsupportedModelError(
            f"the network does not run on images of {height}x{width} pixels, but of {side}x{side}; {cure}."
        )


def require_trainable(trained: TrainedModel) -> str:
    """Try one training step of the smallest network that a search may choose, with the smallest batch to come.

    Returns:
        What will be left out of the training, a sentence; empty where nothing will.

    Raises:
        UnsupportedModelError: it fails; better now than after the search.
    """
    smallest = {group: range(counts[0]) for group, counts in trained.choices.items()}
    model = shrink(trained.start, trained.network, smallest).requires_grad_(True)
    data = trained.data
    batches = [
        smallest_batch(part, recovery_batch_size(len(part)), trained.compute)
        for part in (data.train, data.with_search_learned().train)
    ]
    return try_training(trained.as_shipped(model), min(batches, key=lambda batch: len(batch[1])), trained.compute)
