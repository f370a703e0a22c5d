"""What is compressed: the trained network, its data and its trace."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data, has_own_size, load_data
from amc_hw.errors import UnsupportedModelError, UsageError, WrongRunError
from amc_hw.models.zoo import build_model, default_image_size, known_image_size
from amc_hw.pipeline.load import pruning_choices
from amc_hw.policy import Io, Precision
from amc_hw.processes import is_first_process
from amc_hw.pruning.surgery import shrink
from amc_hw.quantize.simulated import BITS, Simulated
from amc_hw.runs.config import RunConfig, read_config
from amc_hw.runs.folder import RunFolder
from amc_hw.tracing.traced import PruningChoices, TracedModel, trace_model
from amc_hw.training.compute import CPU
from amc_hw.training.recipe import recovery_batch_size
from amc_hw.training.trial import smallest_batch, try_training

CALIBRATION_IMAGES = 128
"""From which the ranges of activations are known: LiteRT's guide has a hundred or so."""
USUAL_SIZES = (32, 64, 224, 28, 48, 96, 128, 160, 192, 256, 299, 384, *range(8, 257, 8))
"""Sides that a network is tried with where it does not run, to name the one that it takes."""

_LOG = logging.getLogger(__name__)


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


def load_model_and_data(
    model: str, data: str, data_root: str | None, seed: int = 0, image_size: int | None = None
) -> tuple[nn.Module, Data]:
    """Build a network (untrained) for a data set.

    Args:
        model: the network's name.
        data: the data set's name.
        data_root: its folder, where it needs one.
        seed: of the initial weights.
        image_size: side in pixels; by default that of the images where all have one, or what the network was
            designed for.

    Raises:
        UsageError: wrong names or files, or the images have another size, or they have none and none is known.
    """
    loaded = load_data(data, Path(data_root) if data_root else None, image_size, known_image_size(model))
    channels, height, width = loaded.image_size
    if image_size not in (None, height) or image_size not in (None, width):
        raise UsageError(
            f"image_size={image_size} was asked for, but the images of '{data}' are {height}x{width}, which only "
            "image folders can be decoded to; leave it out, or write the images at that size."
        )
    return build_model(model, loaded.num_classes, channels, seed=seed), loaded


def image_size_of(config: RunConfig) -> int | None:
    """Return the side of the images of a run that has begun, or None where the data alone decides it.

    Runs of earlier versions took image folders at the size that the network was designed for, 224 for a file's.
    """
    if config.image_size is None and not has_own_size(config.data):
        return default_image_size(config.model)
    return config.image_size


def size_to_begin(run: RunFolder, config: RunConfig) -> int | None:
    """Return the side of the images that was asked for, or that a run which goes on has; None leaves it to the data.

    Raises:
        WrongRunError: these are two.
    """
    before = read_config(run.path) if run.config.exists() else None
    if before is None or before.data != config.data:  # of other data, which is refused with its name
        return config.image_size
    begun = image_size_of(before)
    if begun is not None and config.image_size not in (None, begun):
        raise WrongRunError(
            f"{run} is a run with images of {begun} pixels, not {config.image_size}; choose another folder with run=."
        )
    return config.image_size if begun is None else begun


def say_size(data: Data) -> None:
    """Say which size the images have, once all that was asked for is known to be right."""
    if is_first_process():
        _LOG.info("%s: images of %dx%d pixels (height x width)", data.name, *data.image_size[1:])


def square_side(data: Data) -> int | None:
    """Return the side in pixels of a data set's images where they are squares."""
    _, height, width = data.image_size
    return height if height == width else None


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
        traced.model, traced.example, traced.network, traced.choices, data.on(compute), compute, precision
    )


def trained_model_of(config: RunConfig, model: nn.Module, data: Data, compute: torch.device) -> TrainedModel:
    """Trace a run's network; see `make_trained_model`."""
    trained = make_trained_model(model, data, pruning_choices(config), compute, config.precision)
    return replace(trained, io=config.io)


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
