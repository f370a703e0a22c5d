"""Surgery: a new, physically smaller network from the channels that stay."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils._pytree import tree_map

from amc_hw.errors import UnsupportedModelError, UsageError, unknown_name
from amc_hw.policy import Policy
from amc_hw.tracing.blocks import leave_out
from amc_hw.tracing.network import Network, Side
from amc_hw.tracing.same import computes_the_same, random_like
from amc_hw.tracing.slicing import cut, factors, kept_positions, scale, width


def shrink(model: nn.Module, network: Network, kept: Mapping[str, Sequence[int]], *, scaled: bool = True) -> nn.Module:
    """Return a copy of the model in which only the kept channels exist; the weights are sliced, nothing else changes.

    But queries of attention make up for the width of heads where that is divided by (`amc_hw.tracing.queries`).

    A block whose group keeps none is left out: see `amc_hw.tracing.network.Block`.

    Args:
        model: the model that ``network`` was traced from; it is not changed.
        network: its trace.
        kept: group name -> indices of the channels that stay, in any order; groups that are not named stay whole.
        scaled: whether queries do so.

    Raises:
        UsageError: an unknown group, no channel left, or an index outside of the group.
    """
    original = network.original
    out = [block for block in network.blocks if block.group in kept and not len(kept[block.group])]
    for name, channels in kept.items():
        if name not in original:
            raise unknown_name("channel group", name, original)
        if name in [block.group for block in out]:
            continue
        if not channels or min(channels) < 0 or max(channels) >= original[name]:
            raise UsageError(f"group '{name}' has channels 0 to {original[name] - 1}, of which at least one must stay.")
    small = cut(model, network.groups, {name: channels for name, channels in kept.items() if channels}, scaled=scaled)
    leave_out(small, [block.name for block in out])
    return small


def first_channels(policy: Policy) -> dict[str, range]:
    """Return the channels that `shrink` keeps where only their number counts: the first ones of every group."""
    return {group: range(channels) for group, channels in policy.items()}


def with_whole_scores(small: nn.Module, model: nn.Module, network: Network, policy: Policy) -> nn.Module:
    """Return a pruned network for scores of attention that are divided by the root of the original's width.

    Its queries no longer make up for the width of their heads (`shrink`); a network without such queries is returned as
    it is. Which of the channels stayed is not asked: a layer's queries lie alike, whichever they are.

    Args:
        small: a network that was pruned to ``policy``.
        model: the model that ``network`` was traced from.
        network: its trace.
        policy: channels of every group.
    """
    kept = {name: channels for name, channels in first_channels(policy).items() if channels}
    made_up = factors(model, network.groups, kept)
    if not made_up:
        return small
    stay = kept_positions(model, network.groups, kept)
    small = copy.deepcopy(small)
    there = {name for name, _ in (*small.named_modules(), *small.named_parameters())}
    back = {(name, axis): 1 / each[stay[name, "out", axis]] for (name, axis), each in made_up.items() if name in there}
    scale(small, back)
    return small


def policy_of(model: nn.Module, network: Network, small: nn.Module) -> dict[str, int]:
    """Return the policy that a network was pruned to, as its layers tell; blocks that are left out have 0 channels.

    Args:
        model: the model that ``network`` was traced from.
        network: its trace.
        small: a pruned version of it.

    Raises:
        UnsupportedModelError: a group has no layer of its own, which would tell.
    """
    before, now = dict(model.named_modules()), dict(small.named_modules())
    inside = {name: block.group for block in network.blocks for name in block.inside}
    sharing: dict[tuple[str, Side], dict[str, NDArray[np.intp]]] = {}
    for group in network.groups:
        for member in group.members:
            if member.module in before and member.side in ("out", "in"):
                sharing.setdefault((member.module, member.side), {})[group.name] = member.positions
    whole = {
        (module, side): parts
        for (module, side), parts in sharing.items()
        if sum(positions.size for positions in parts.values()) == width(before[module], side)
    }
    policy: dict[str, int] = {}
    while len(policy) < len(network.groups):
        for (module, side), parts in whole.items():  # all of whose channels are groups', all but one of them known
            unknown = [name for name in parts if name not in policy]
            if len(unknown) != 1:
                continue
            (name,) = unknown
            if module in now and type(now[module]) is not nn.Identity:
                others = sum(policy[other] * parts[other].shape[1] for other in parts if other != name)
                policy[name] = (width(now[module], side) - others) // parts[name].shape[1]
            else:
                policy[name] = 0 if inside.get(name) == name else network.original[name]
            break
        else:
            left = next(group.name for group in network.groups if group.name not in policy)
            raise UnsupportedModelError(f"no layer tells how many channels of '{left}' a network has.")
    return {group.name: policy[group.name] for group in network.groups}


def widened(
    model: nn.Module, network: Network, kept: Mapping[str, Sequence[int]], small: nn.Module, example_input: Any
) -> nn.Module:
    """Return a network of the model's shape that computes what a smaller one does: `shrink` the other way round.

    The weights of ``small`` are put where those of the kept channels were; all others are zero, those of blocks
    that were left out included.

    Args:
        model: the model that ``network`` was traced from; it is not changed.
        network: its trace.
        kept: the channels that ``small`` was shrunk to.
        small: a network of that shape, on the same device.
        example_input: what both take; on random values like it, they must give the same.

    Raises:
        UnsupportedModelError: they do not.
    """
    wide, places = copy.deepcopy(model), copy.deepcopy(model).double()  # a float counts too few weights exactly
    for tensor in places.state_dict().values():
        tensor.copy_(torch.arange(tensor.numel(), device=tensor.device).view(tensor.shape))
    chosen, weights = shrink(places, network, kept, scaled=False).state_dict(), small.state_dict()
    for key, tensor in wide.state_dict().items():
        flat = torch.zeros_like(tensor).flatten()
        if key in chosen:
            flat[chosen[key].long().flatten()] = weights[key].flatten()
        tensor.copy_(flat.view(tensor.shape))
    scale(wide, {place: 1 / each for place, each in factors(model, network.groups, kept).items()})
    if not computes_the_same(small, wide, tree_map(random_like, example_input)):
        raise UnsupportedModelError(
            "with zeros in place of its pruned channels, the network computes something else than without them; "
            "compress it in one round."
        )
    return wide.eval()
