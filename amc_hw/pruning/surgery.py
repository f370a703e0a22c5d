"""Surgery: a new, physically smaller network from the channels that stay."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from amc_hw.errors import UsageError, unknown_name
from amc_hw.trace.groups import Network
from amc_hw.trace.slicing import cut


def shrink(model: nn.Module, network: Network, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """Return a copy of the model in which only the kept channels exist; the weights are sliced, nothing else changes.

    Args:
        model: the model that ``network`` was traced from; it is not changed.
        network: its trace.
        kept: group name -> indices of the channels that stay, in any order; groups that are not named stay whole.

    Raises:
        UsageError: an unknown group, no channel left, or an index outside of the group.
    """
    original = network.original
    for name, channels in kept.items():
        if name not in original:
            raise unknown_name("channel group", name, original)
        if not channels or min(channels) < 0 or max(channels) >= original[name]:
            raise UsageError(f"group '{name}' has channels 0 to {original[name] - 1}, of which at least one must stay.")
    return cut(model, network.groups, kept)


def widened(model: nn.Module, network: Network, kept: Mapping[str, Sequence[int]], small: nn.Module) -> nn.Module:
    """Return a network of the model's shape that computes what a smaller one does: `shrink` the other way round.

    The weights of ``small`` are put where those of the kept channels were; all others are zero.

    Args:
        model: the model that ``network`` was traced from; it is not changed.
        network: its trace.
        kept: the channels that ``small`` was shrunk to.
        small: a network of that shape, on the same device.
    """
    wide, places = copy.deepcopy(model), copy.deepcopy(model).double()  # a float counts too few weights exactly
    for tensor in places.state_dict().values():
        tensor.copy_(torch.arange(tensor.numel(), device=tensor.device).view(tensor.shape))
    chosen, weights = shrink(places, network, kept).state_dict(), small.state_dict()
    for key, tensor in wide.state_dict().items():
        flat = torch.zeros_like(tensor).flatten()
        flat[chosen[key].long().flatten()] = weights[key].flatten()
        tensor.copy_(flat.view(tensor.shape))
    return wide.eval()
