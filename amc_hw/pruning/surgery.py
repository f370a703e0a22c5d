"""Surgery: a new, physically smaller network from the channels that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
