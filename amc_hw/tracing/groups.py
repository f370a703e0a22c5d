"""Tracing: the layers and channel groups of a model, each group proven before it is offered."""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.errors import UnsupportedModelError
from amc_hw.tracing.assemble import Assembly
from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.attributes import find_drivers
from amc_hw.tracing.blocks import find_blocks
from amc_hw.tracing.counted import miscounted_groups
from amc_hw.tracing.follow import follow
from amc_hw.tracing.followed import Followed
from amc_hw.tracing.heads import with_heads
from amc_hw.tracing.leaves import is_leaf
from amc_hw.tracing.network import Block, ChannelGroup, Layer, Member, Network, Reason, Why
from amc_hw.tracing.own_weights import require_numbers, require_own_weights
from amc_hw.tracing.selection import left_alone, matches
from amc_hw.tracing.ties import find_ties
from amc_hw.tracing.unheard import unheard_layers
from amc_hw.tracing.verify import failing_groups

__all__ = ["Block", "ChannelGroup", "Layer", "Member", "Network", "trace"]


def trace(model: nn.Module, example_input: Any, *, exclude: Sequence[str] = (), include: Sequence[str] = ()) -> Network:
    """Find the layers, channel groups and removable blocks of a model; every one is proven on a copy.

    The network's input and its output stay whole. For the proof, some of every group's channels are cut out of a
    copy with random batch-norm statistics, whose output must equal that of the copy with these channels masked, its
    norms taken over the channels that are left.

    Args:
        model: any module; it is not changed.
        example_input: what ``model(example_input)`` takes: images (N, C, H, W), or a detector's list of images.
        exclude: patterns of layers that stay and keep all their channels; see `amc_hw.tracing.selection.left_alone`.
        include: patterns of the only layers that may lose channels; without any, all may.

    Raises:
        UnsupportedModelError: the model cannot be copied or run, computes with weights that it does not have, or its
            groups cannot be pruned together.
        UsageError: a pattern that matches no layer, or weights that are NaN.
    """
    try:
        model = copy.deepcopy(model).eval().requires_grad_(False)  # or FlopCounterMode refuses parameters as inputs
    except (RuntimeError, TypeError) as error:
        raise UnsupportedModelError(
            f"the model cannot be copied ({_sentence(error)}); give a model whose weights are plain parameters."
        ) from error
    followed, macs = _run(model, example_input)
    require_numbers(model)
    require_own_weights(model, example_input)
    images = len(example_input) if isinstance(example_input, Tensor) else 1
    assembly = Assembly(followed)
    layers = list(dict.fromkeys(followed.makers))
    for group, text in left_alone(assembly.groups(), layers, exclude, include).items():
        assembly.keep(group, Reason(Why.USER, text))
    unheard = unheard_layers(model, layers, example_input)
    for group in _made_by(assembly.groups(), layers, unheard):
        assembly.keep(group, Reason(Why.NETWORK, "nothing that the network gives depends on its channels"))
    failing = _tied(assembly, model, example_input)
    if failing and assembly.forget_sizes(failing):  # numbers that only happened to be as many as their channels
        failing = {group: failing.get(group, text) for group, text in _tied(assembly, model, example_input).items()}
    for group, text in failing.items():
        assembly.keep(group, Reason(Why.NETWORK, text))
    network = assembly.network(model, macs // images, images)
    if miscounted := miscounted_groups(model, network, example_input, images):
        for group, text in miscounted.items():
            assembly.keep(group, Reason(Why.NETWORK, text))
        network = assembly.network(model, macs // images, images)
    kept_whole = [layer for layer in layers if matches(layer, exclude)]
    blocks = [
        block
        for block in find_blocks(model, example_input, network, images)
        if not any(block.holds(layer) for layer in kept_whole)
    ]
    return assembly.network(model, macs // images, images, blocks) if blocks else network


def _tied(assembly: Assembly, model: nn.Module, example_input: Any) -> dict[str, str]:
    """Make one group of those that can only shrink together; return those that cannot lose channels, and why."""
    failing = failing_groups(model, assembly.groups(), example_input)
    ties = find_ties(model, assembly.groups(), failing, example_input) if failing else []
    if not ties:
        return failing
    assembly.tie(ties)
    return failing_groups(model, assembly.groups(), example_input)


def _made_by(groups: Sequence[ChannelGroup], layers: Sequence[str], some: Set[str]) -> list[str]:
    """Return the groups whose channels are made by some layers, and by no others."""
    made = {
        group.name: {member.module for member in group.members if member.side == "out"}.intersection(layers)
        for group in groups
    }
    return [name for name, by in made.items() if by and by <= some]


def _run(model: nn.Module, example_input: Any) -> tuple[Followed, int]:
    """Follow one forward pass, and count its multiply-accumulates."""
    try:
        with attention_by_parts():
            drivers = find_drivers(model, example_input, is_leaf)
            with FlopCounterMode(display=False) as counter:
                followed = follow(model, example_input, drivers)
    except Exception as error:  # whatever a user's forward raises
        raise UnsupportedModelError(
            f"the model does not run on the example input ({type(error).__name__}: {_sentence(error)}); "
            "give an example of what its forward takes."
        ) from error
    return with_heads(model, example_input, followed, drivers), counter.get_total_flops() // 2


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
