"""What is compressed: the trained network, its data and its trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data, load_data
from amc_hw.errors import UnsupportedModelError
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.runs.config import RunConfig
from amc_hw.trace.traced import PruningChoices, TracedModel, trace_model
from amc_hw.training.compute import CPU

BASELINE = "baseline.pt"


@dataclass(frozen=True)
class TrainedModel(TracedModel):
    """A trained network with its data set.

    Attributes:
        data: on ``compute``, as far as they fit.
        compute: where tensors are worked on; the networks themselves stay on the CPU.
        pruned_before: what a later round prunes instead of the model: a network of the same shape, in which the
            channels that earlier rounds took are zero.
    """

    data: Data
    compute: torch.device = CPU
    pruned_before: nn.Module | None = None

    @property
    def start(self) -> nn.Module:
        """The network that is pruned."""
        return self.model if self.pruned_before is None else self.pruned_before


def load_model_and_data(model: str, data: str, data_root: str | None, seed: int = 0) -> tuple[nn.Module, Data]:
    """Build a network (untrained) for a data set."""
    loaded = load_data(data, Path(data_root) if data_root else None, default_image_size(model))
    return build_model(model, loaded.num_classes, loaded.image_size[0], seed=seed), loaded


def make_trained_model(
    model: nn.Module,
    data: Data,
    allowed: PruningChoices | None = None,
    compute: torch.device = CPU,
) -> TrainedModel:
    """Trace a trained network; see `trace_model` and `TrainedModel`.

    Raises:
        UnsupportedModelError: the network does not tell the data's classes apart, or nothing in it can be pruned.
        UsageError: a pattern that matches no layer.
    """
    require_classes(model, data)
    traced = trace_model(model, data.image_size, allowed)
    return TrainedModel(traced.model, traced.example, traced.network, traced.choices, data.on(compute), compute)


def trained_model_of(config: RunConfig, model: nn.Module, data: Data, compute: torch.device) -> TrainedModel:
    """Trace a run's network; see `make_trained_model`."""
    allowed = PruningChoices(config.multiple, config.lower, config.exclude, config.include, config.keep_blocks)
    return make_trained_model(model, data, allowed, compute)


def require_classes(model: nn.Module, data: Data) -> None:
    """Refuse a network whose output is not one score for each class: accuracy would mean nothing."""
    try:
        with torch.no_grad():
            output = model.eval()(torch.zeros(1, *data.image_size))
    except Exception:  # the trace says why
        return
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(
            f"the network gives a {type(output).__name__} where one tensor of class scores is needed; wrap it."
        )
    if tuple(output.shape) != (1, data.num_classes):
        raise UnsupportedModelError(
            f"the network gives scores of shape {tuple(output.shape[1:])} for an image, and {data.name} has "
            f"{data.num_classes} classes; give the network and the data that belong together."
        )
