"""Channel groups that can only shrink together: the width of heads that a forward takes from what enters it.

In ``x.reshape(batch, tokens, heads, x.shape[-1] // heads)`` the channels of ``x`` and the width of the heads are two
groups to whoever follows the channels, and the network runs only where both lose the same share. Alone, each of them
stops the cut network; the module in which it stops holds the others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn

from amc_hw.tracing.network import ChannelGroup
from amc_hw.tracing.verify import Proof, some_channels


def find_ties(
    model: nn.Module, groups: Sequence[ChannelGroup], failing: Collection[str], example_input: Any
) -> list[list[str]]:
    """Return groups, in network order, that are proven where they lose the same share, and do not run alone.

    Args:
        model: a copy in evaluation mode; it is not changed.
        groups: all groups.
        failing: the names of those that cannot lose channels alone.
        example_input: the shape of the random input that is used.
    """
    quick, proof = (Proof(model, example_input, dtype) for dtype in (torch.float32, torch.float64))
    alone = [group for group in groups if group.name in failing]
    found: list[list[str]] = []
    while alone:
        together = _together(quick, proof, alone)
        if len(together) > 1:
            found.append([group.name for group in together])
        alone = [group for group in alone if group not in together]
    return found


def _together(quick: Proof, proof: Proof, groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """Return the first group with those that it can shrink with, or alone where there are none."""
    some = groups[:1]
    while True:
        parts = math.gcd(*(group.channels for group in some))
        if parts < 2:
            return groups[:1]
        units = some_channels(some[0].name, parts)
        kept = {
            group.name: [unit * size + i for unit in units for i in range(size)]
            for group in some
            for size in [group.channels // parts]
        }
        stops = quick.stops_in(some, kept)
        if not stops:
            return some if proof.difference(some, kept) is None else groups[:1]
        held = ([group for group in groups if group not in some and _is_in(name, group)] for name in stops)
        if not (more := next((each for each in held if each), [])):
            return groups[:1]
        some = [group for group in groups if group in some or group in more]


def _is_in(module: str, group: ChannelGroup) -> bool:
    return any(not module or f"{member.module}.".startswith(f"{module}.") for member in group.members)
