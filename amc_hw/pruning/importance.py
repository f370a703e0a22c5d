"""Which channels of a group to keep: rankings by name, most important first.

A ranking is computed once per group and does not depend on the policy: a policy that keeps n channels keeps the first n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from amc_hw.trace.groups import ChannelGroup


def consumers(group: ChannelGroup, modules: Mapping[str, nn.Module]) -> list[tuple[str, nn.Conv2d | nn.Linear, Tensor]]:
    """Return the layers that read the group's channels: name, module, input positions (channels, k).

    Depthwise and grouped convolutions are not among them: they lose whole filters together with their inputs.
    """
    found = []
    for member in group.members:
        module = modules.get(member.module)
        if member.side == "in" and isinstance(module, nn.Conv2d | nn.Linear) and getattr(module, "groups", 1) == 1:
            found.append((member.module, module, torch.as_tensor(member.positions)))
    return found


def magnitude(group: ChannelGroup, modules: Mapping[str, nn.Module]) -> Tensor:
    """Rank by the sum of |W| over the weights that read a channel (AMC, section 3.3: channels of the input are pruned)."""
    scores = torch.zeros(group.channels)
    for _, module, positions in consumers(group, modules):
        size = module.weight.detach().abs().transpose(0, 1).flatten(1).sum(1).cpu()
        scores += size[positions].sum(1)
    return scores.argsort(descending=True, stable=True)


Importance = Callable[[ChannelGroup, Mapping[str, nn.Module]], Tensor]
