"""From the labels of a forward pass to channel groups, layers and parameter counts, each group proven."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.errors import UnsupportedModelError
from amc_hw.trace.follow import Followed, follow
from amc_hw.trace.groups import ChannelGroup, Dimension, Layer, Member, Network
from amc_hw.trace.slicing import sliced
from amc_hw.trace.verify import failing_groups

_Key = tuple[str, Literal["out", "in"], int]  # module or parameter, side, axis


@dataclass
class _Sides:
    """The channel of every position of every dimension, and the channels that must stay."""

    channels: dict[_Key, NDArray[np.int64]]
    producers: list[str]  # layers in the order of their first call
    reasons: dict[int, str]


def prove_and_assemble(model: nn.Module, example_input: Any) -> Network:
    """Do what `amc_hw.trace.groups.trace` promises."""
    try:
        model = copy.deepcopy(model).eval()
    except (RuntimeError, TypeError) as error:
        raise UnsupportedModelError(
            f"the model cannot be copied ({_sentence(error)}); give a model whose parameters are leaves."
        ) from error
    try:
        with FlopCounterMode(display=False) as counter:
            followed = follow(model, example_input)
    except Exception as error:  # whatever a user's forward raises
        raise UnsupportedModelError(
            f"the model does not run on the example input ({type(error).__name__}: {_sentence(error)}); "
            "give an example of what its forward takes."
        ) from error
    sides = _read(followed)
    groups = _groups(sides)
    for name, reason in failing_groups(model, groups, example_input).items():
        root = next(group for group in groups if group.name == name)
        member = next(member for member in root.members if member.side == "out")
        channels = sides.channels[member.module, member.side, member.axis][member.positions.ravel()]
        sides.reasons.update(dict.fromkeys(channels.tolist(), reason))
    groups = _groups(sides)
    return _network(model, followed, sides, groups, counter.get_total_flops() // 2, _images(example_input))


def _read(followed: Followed) -> _Sides:
    roots = followed.book.roots()
    reasons = followed.book.reasons(roots)
    channels: dict[_Key, NDArray[np.int64]] = {
        (name, "out" if side == "out" else "in", 0): roots[labels.numpy()] for (name, side), labels in followed.sides.items()
    }
    for name, labels in followed.bare.items():
        whole = roots[labels.numpy()]
        axes = [a for a in range(whole.ndim) if (whole != np.take(whole, [0], a)).any()]
        if len(axes) == 1:
            channels[name, "out", axes[0]] = np.take(np.moveaxis(whole, axes[0], 0).reshape(whole.shape[axes[0]], -1), 0, 1)
        else:
            for channel in np.unique(whole).tolist():
                reasons.setdefault(channel, f"the shape of the parameter '{name}' on its way is not understood")
    producers = list(dict.fromkeys(call.name for call in followed.calls))
    return _Sides(channels, producers, reasons)


def _groups(sides: _Sides) -> list[ChannelGroup]:
    """Name every channel after the first layer that produces it; what cannot be a group of equals is kept whole."""
    while True:
        owner = _owners(sides)
        kept = len(sides.reasons)
        for channels in owner.values():
            if len(channels) < 2:
                sides.reasons.update(dict.fromkeys(channels, "all its channels hang together: none can be removed alone"))
        members: dict[str, list[Member]] = {name: [] for name in owner}
        order = [channel for channels in owner.values() for channel in channels]
        for (module, side, axis), positions in sides.channels.items():
            for name, found in _positions(positions, owner, order).items():
                if found is None:
                    reason = f"'{module}' uses some of its channels more often than others"
                    sides.reasons.update(dict.fromkeys(owner[name], reason))
                else:
                    members[name].append(Member(module, side, found, axis))
        if len(sides.reasons) == kept:
            return [ChannelGroup(name, len(owner[name]), tuple(found)) for name, found in members.items()]


def _positions(
    channels: NDArray[np.int64], owner: Mapping[str, list[int]], order: list[int]
) -> dict[str, NDArray[np.intp] | None]:
    """Return for every group in a dimension the positions (channels, k), or None where k is not the same for all."""
    rank = np.full(max(int(channels.max()), max(order, default=0)) + 1, -1)
    rank[order] = np.arange(len(order))
    ranks = rank[channels]
    found: dict[str, NDArray[np.intp] | None] = {}
    start = 0
    for name, members in owner.items():
        end = start + len(members)
        where = np.flatnonzero((ranks >= start) & (ranks < end))
        if len(where):
            counts = np.bincount(ranks[where] - start, minlength=len(members))
            even = bool((counts == counts[0]).all())
            by_channel = where[np.argsort(ranks[where], kind="stable")]
            found[name] = by_channel.reshape(len(members), -1) if even else None
        start = end
    return found


def _owners(sides: _Sides) -> dict[str, list[int]]:
    """Return the removable channels by the layer that produces them first; a layer that loses one must keep all."""
    changed = True
    while changed:
        changed = False
        for name in sides.producers:
            channels = np.unique(sides.channels[name, "out", 0]).tolist()
            kept = [channel for channel in channels if channel in sides.reasons]
            if kept and len(kept) < len(channels):
                sides.reasons.update(dict.fromkeys(set(channels) - set(kept), sides.reasons[kept[0]]))
                changed = True
    owner: dict[str, list[int]] = {}
    seen: set[int] = set()
    for name in sides.producers:
        new = [c for c in dict.fromkeys(sides.channels[name, "out", 0].tolist()) if c not in seen and c not in sides.reasons]
        seen.update(new)
        if new:
            owner[name] = new
    return owner


def _network(
    model: nn.Module, followed: Followed, sides: _Sides, groups: list[ChannelGroup], macs: int, images: int
) -> Network:
    sizes = {key: _dimension(key, len(channels), groups) for key, channels in sides.channels.items()}
    layers = tuple(
        _layer(call.name, call.module, call.shape, sizes, images) for call in followed.calls
    )
    original = {group.name: group.channels for group in groups}
    tensors, changing = _tensors(model, sizes)
    unprunable = {
        name: sides.reasons[int(sides.channels[name, "out", 0][0])]
        for name in sides.producers
        if int(sides.channels[name, "out", 0][0]) in sides.reasons
    }
    for name, module in model.named_modules():
        if name not in sides.producers and isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            unprunable[name] = "it is of a kind that is not pruned, or not called as a module in evaluation mode"
    return Network(
        tuple(groups),
        layers,
        unprunable,
        tensors,
        sum(p.numel() for p in model.parameters()) - changing,
        macs // images - sum(layer.macs(original) for layer in layers),
    )


def _dimension(key: _Key, length: int, groups: list[ChannelGroup]) -> Dimension:
    found = {
        group.name: member.positions.shape
        for group in groups
        for member in group.members
        if (member.module, member.side, member.axis) == key
    }
    constant = length - sum(channels * width for channels, width in found.values())
    return Dimension(constant, tuple(found), tuple(width for _, width in found.values()))


def _layer(name: str, module: nn.Module, shape: torch.Size, sizes: Mapping[_Key, Dimension], images: int) -> Layer:
    c_in, c_out = sizes[name, "in", 0], sizes[name, "out", 0]
    if isinstance(module, nn.Conv2d):
        kernel, stride = (module.kernel_size[0], module.kernel_size[1]), (module.stride[0], module.stride[1])
        depthwise = module.groups > 1 and module.groups == module.in_channels
        per_group = module.in_channels // module.groups
        return Layer(name, "conv", c_in, c_out, kernel, stride, module.groups, depthwise, shape[-2], shape[-1], per_group)
    rows = math.prod(shape[:-1]) // images
    return Layer(name, "linear", c_in, c_out, (1, 1), (1, 1), 1, False, rows, 1, c_in.constant)


def _tensors(model: nn.Module, sizes: Mapping[_Key, Dimension]) -> tuple[tuple[tuple[Dimension, ...], ...], int]:
    """Return the shapes of the parameters that policies change, and how many elements they have in the original."""
    modules = dict(model.named_modules())
    shapes: dict[str, list[Dimension]] = {}
    parameters = dict(model.named_parameters())
    for (name, side, axis), size in sizes.items():
        if not size.groups:
            continue
        places = (
            [(f"{name}.{tensor}", along) for tensor, along in sliced(modules[name], side)] if name in modules else [(name, axis)]
        )
        for tensor, along in places:
            if tensor in parameters:
                shapes.setdefault(tensor, [Dimension(length) for length in parameters[tensor].shape])[along] = size
    return tuple(tuple(shape) for shape in shapes.values()), sum(parameters[name].numel() for name in shapes)


def _images(example_input: Any) -> int:
    return int(example_input.shape[0]) if isinstance(example_input, Tensor) else 1


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
