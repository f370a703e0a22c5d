"""A network with what can be pruned in it: where every search and every table begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.policy import channel_choices
from amc_hw.tracing.groups import Network, trace


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
        exclude: patterns of layers that keep all their channels; see `amc_hw.tracing.selection.left_alone`.
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
