"""What is compressed: the trained network, its data and its trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data, load_data
from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.policy import channel_choices
from amc_hw.runs.config import RunConfig
from amc_hw.trace.groups import Network, trace
from amc_hw.training.compute import CPU

BASELINE = "baseline.pt"


@dataclass(frozen=True)
class TracedModel:
    """A network with what can be pruned in it.

    Attributes:
        model: in evaluation mode.
        example: one image (1, C, H, W).
        network: the trace.
        choices: for every group the channel counts to choose from, ascending, the original's last.
    """

    model: nn.Module
    example: Tensor
    network: Network
    choices: dict[str, tuple[int, ...]]

    @property
    def decisions(self) -> dict[str, tuple[int, ...]]:
        """The choices of a search: 0 channels besides, where a group decides about a block."""
        deciding = {block.group for block in self.network.blocks}
        return {group: (0, *counts) if group in deciding else counts for group, counts in self.choices.items()}


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
    multiple: int = 8,
    lower: float = 0.2,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    keep_blocks: bool = False,
    compute: torch.device = CPU,
) -> TrainedModel:
    """Trace a trained network; see `trace_model` and `TrainedModel`.

    Raises:
        UnsupportedModelError: the network does not tell the data's classes apart, or nothing in it can be pruned.
        UsageError: a pattern that matches no layer.
    """
    require_classes(model, data)
    traced = trace_model(model, data.image_size, multiple, lower, exclude, include, keep_blocks)
    return TrainedModel(traced.model, traced.example, traced.network, traced.choices, data.on(compute), compute)


def trained_model_of(config: RunConfig, model: nn.Module, data: Data, compute: torch.device) -> TrainedModel:
    """Trace a run's network; see `make_trained_model`."""
    return make_trained_model(
        model, data, config.multiple, config.lower, config.exclude, config.include, config.keep_blocks, compute
    )


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


def trace_model(
    model: nn.Module,
    image_size: tuple[int, int, int],
    multiple: int = 8,
    lower: float = 0.2,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    keep_blocks: bool = False,
) -> TracedModel:
    """Trace a network for images of a size.

    Args:
        model: the network; it is put into evaluation mode.
        image_size: (C, H, W).
        multiple: see `amc_hw.policy.channel_choices`.
        lower: smallest keep ratio of a group.
        exclude: patterns of layers that keep all their channels; see `amc_hw.trace.selection.left_alone`.
        include: patterns of the only layers that may lose channels; without any, all may.
        keep_blocks: whether no residual block may be left out.

    Raises:
        UnsupportedModelError: nothing in the network can be pruned.
        UsageError: a pattern that matches no layer, or patterns that leave none to prune.
    """
    model.eval()
    example = torch.zeros(1, *image_size)
    network = trace(model, example, exclude=exclude, include=include)
    if not network.groups:
        if exclude or include:
            kept = [f"{layer}: {reason}" for layer, reason in network.unprunable.items() if "--" not in reason]
            others = f" (of the others: {'; '.join(kept[:3])})" if kept else ""
            raise UsageError(f"no layer is left to prune by what is excluded or included{others}; change the patterns.")
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in list(network.unprunable.items())[:3])
        raise UnsupportedModelError(f"no layer of this network can be pruned ({reasons}).")
    if keep_blocks:
        network = replace(network, blocks=())
    choices = {group.name: channel_choices(group.channels, multiple, lower) for group in network.groups}
    return TracedModel(model, example, network, choices)
