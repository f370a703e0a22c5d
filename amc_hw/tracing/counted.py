"""Multiply-accumulates as PyTorch counts them, and the channel groups of which the description says others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.faulty import find_faulty
from amc_hw.tracing.network import ChannelGroup, Network
from amc_hw.tracing.same import random_like
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import some_channels


def count_macs(model: nn.Module, example_input: Any) -> tuple[Any, int]:
    """Return what a model gives, and the multiply-accumulates of all that it does.

    Args:
        model: whose parameters need no gradients, if some go into modules as inputs.
        example_input: what it takes.
    """
    with torch.no_grad(), attention_by_parts(), FlopCounterMode(display=False) as counter:
        output = model(example_input)
    return output, counter.get_total_flops() // 2


def miscounted_groups(model: nn.Module, network: Network, example_input: Any, images: int) -> dict[str, str]:
    """Return the groups without some of whose channels a model has other multiply-accumulates than told, and why.

    Args:
        model: a copy in evaluation mode, without gradients; it is not changed.
        network: its trace; the groups are proven.
        example_input: what it takes.
        images: in ``example_input``.

    Raises:
        UnsupportedModelError: groups that are counted right alone are not together.

    A model that does more or less for other inputs (a detector, for what it finds) is not asked.
    """
    if count_macs(model, random_like(example_input))[1] // images != network.macs(network.original):
        return {}

    def fault(groups: Sequence[ChannelGroup]) -> str | None:
        kept = {group.name: some_channels(group.name, group.channels) for group in groups}
        _, macs = count_macs(cut(model, groups, kept), example_input)
        policy = {**network.original, **{name: len(channels) for name, channels in kept.items()}}
        return None if macs // images == network.macs(policy) else "what it costs without some of them cannot be told"

    return find_faulty(network.groups, fault)
