"""A network with what can be pruned in it: where every search and every table begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.errors import AmcHwError, UnsupportedModelError, UsageError
from amc_hw.policy import Io, channel_choices
from amc_hw.tracing.groups import Network, trace
from amc_hw.tracing.inputs import noise_like, spread
from amc_hw.tracing.network import Reason, Why

CALIBRATION_NOISE = 8
"""Random images that stand in for training images, where only the operators of a quantized file count."""


@dataclass(frozen=True)
class PruningChoices:
    """What the user lets a search choose from.

    Attributes:
        multiple: of which channel counts are; see `amc_hw.policy.channel_choices`.
        lower: smallest keep ratio of a group.
        exclude: patterns of layers that keep all their channels; see `amc_hw.tracing.selection.left_alone`.
        include: patterns of the only layers that may lose channels; without any, all may.
        keep_blocks: whether no residual block may be left out.
    """

    multiple: int = 8
    lower: float = 0.2
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    keep_blocks: bool = False


@dataclass(frozen=True)
class TracedModel:
    """A network with what can be pruned in it.

    Attributes:
        model: in evaluation mode.
        example: one image (1, C, H, W); of other networks one input in a batch of its own: a tensor, or a tuple, a list
            or a dict of tensors (`amc_hw.tracing.inputs`).
        network: the trace.
        choices: for every group the channel counts to choose from, ascending, the original's last.
        name: the network's, for people and in tables; its class's where it has no other.
    """

    model: nn.Module
    example: Any
    network: Network
    choices: dict[str, tuple[int, ...]]
    name: str

    @property
    def calibration(self) -> Any:
        """Inputs, in one batch, that tell the ranges of activations; random ones, where there are no others."""
        return noise_like(self.example, CALIBRATION_NOISE)

    @property
    def image_size(self) -> list[int] | None:
        """(C, H, W) of the images; None of other inputs."""
        return list(self.example.shape[1:]) if isinstance(self.example, Tensor) and self.example.dim() == 4 else None

    @property
    def io(self) -> Io:
        """What quantized files of the network take and give."""
        return "float32"

    @property
    def decisions(self) -> dict[str, tuple[int, ...]]:
        """The choices of a search: 0 channels besides, where a group decides about a block."""
        deciding = {block.group for block in self.network.blocks}
        return {group: (0, *counts) if group in deciding else counts for group, counts in self.choices.items()}


def trace_model(model: nn.Module, image_size: tuple[int, ...], allowed: PruningChoices | None = None) -> TracedModel:
    """Trace a network for images of a size.

    Args:
        model: the network; it is put into evaluation mode.
        image_size: (C, H, W), or (C, ...) of maps of another dimension.
        allowed: what may be pruned; by default whatever can be.

    Raises:
        AmcHwError: see `trace_example`.
    """
    return trace_example(model, torch.zeros(1, *image_size), allowed)


def trace_example(model: nn.Module, example: Any, allowed: PruningChoices | None = None) -> TracedModel:
    """Trace a network for inputs like an example.

    Args:
        model: the network; it is put into evaluation mode. One that takes several inputs is called with all of them as
            one value (`amc_hw.tracing.inputs.spread`).
        example: one input in a batch of its own.
        allowed: what may be pruned; by default whatever can be.

    Raises:
        UnsupportedModelError: nothing in the network can be pruned.
        UsageError: a pattern that matches no layer, or patterns that leave none to prune.
    """
    allowed = allowed or PruningChoices()
    name = type(model).__name__
    model = spread(model.eval(), example)
    network = trace(model, example, exclude=allowed.exclude, include=allowed.include)
    if allowed.keep_blocks:
        network = replace(network, blocks=())
    choices = {group.name: channel_choices(group.channels, allowed.multiple, allowed.lower) for group in network.groups}
    network = replace(network, reasons={**network.reasons, **_without_choice(choices)})
    if not network.blocks and all(len(counts) == 1 for counts in choices.values()):
        raise _nothing_to_prune(network, by_patterns=bool(allowed.exclude or allowed.include))
    return TracedModel(model, example, network, choices, name)


def _without_choice(choices: dict[str, tuple[int, ...]]) -> dict[str, Reason]:
    """Return why groups keep all their channels of which a search has nothing to choose."""
    return {
        group: Reason(
            Why.NETWORK,
            f"what can go of it are {counts[-1]} units (channels, or heads or groups of them), and at least "
            f"{counts[0]} stay",
        )
        for group, counts in choices.items()
        if len(counts) == 1
    }


def _nothing_to_prune(network: Network, *, by_patterns: bool) -> AmcHwError:
    """Return the error of a network without channel groups; those reasons help that the user did not give."""
    others = [f"{layer}: {reason.text}" for layer, reason in network.reasons.items() if reason.why is not Why.USER]
    listed = "; ".join(others[:3])
    if by_patterns:
        beside = f" (of the others: {listed})" if others else ""
        return UsageError(f"no layer is left to prune by what is excluded or included{beside}; change the patterns.")
    return UnsupportedModelError(f"no layer of this network can be pruned ({listed}).")
