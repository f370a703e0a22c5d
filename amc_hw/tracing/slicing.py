"""Cut channels out of a network: our own slicing of weights, by the positions that a channel group lists."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from amc_hw.tracing.attributes import Attribute, is_attribute, set_value, value_of
from amc_hw.tracing.kinds import Convolution, Weighted, in_one_group, input_axis, loses_inputs
from amc_hw.tracing.network import ChannelGroup, Member, Side

_Key = tuple[str, Side, int]  # module, parameter or attribute, side, axis

_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")  # of batch norms


def sliced(module: nn.Module, side: str) -> list[tuple[str, int]]:
    """Return which tensors of a leaf module, along which axis, follow one of its sides."""
    if isinstance(module, Weighted):
        inputs = input_axis(module)
        grouped = getattr(module, "groups", 1) > 1  # the first axis is then all there is to cut where groups go whole
        if side == "in":
            return [] if inputs and not loses_inputs(module) else [("weight", inputs)]
        weight = [] if grouped and not inputs else [("weight", 1 - inputs)]
        return weight + ([("bias", 0)] if module.bias is not None else [])
    if isinstance(module, nn.PReLU | nn.Embedding):
        return [("weight", int(isinstance(module, nn.Embedding)))]
    return [(name, 0) for name in _PER_CHANNEL if getattr(module, name) is not None]


def width(module: nn.Module, side: str) -> int:
    """Return how many channels or features a side of a leaf module has."""
    if isinstance(module, Convolution):
        return module.out_channels if side == "out" else module.in_channels
    if isinstance(module, nn.Linear):
        return module.out_features if side == "out" else module.in_features
    if isinstance(module, nn.PReLU):
        return module.num_parameters
    if isinstance(module, nn.Embedding):
        return module.embedding_dim
    return int(getattr(module, "num_features"))  # noqa: B009 - a batch norm


def kept_positions(
    model: nn.Module, groups: Iterable[ChannelGroup], kept: Mapping[str, Sequence[int]]
) -> dict[_Key, NDArray[np.intp]]:
    """Return for every (module, side, axis) that loses channels the positions that stay, ascending.

    Args:
        model: the traced model.
        groups: its channel groups.
        kept: the channels that stay, for the groups that lose some.
    """
    modules = dict(model.named_modules())
    masks: dict[_Key, NDArray[np.bool_]] = {}
    for group in groups:
        if group.name not in kept or len(kept[group.name]) == group.channels:
            continue
        gone = np.ones(group.channels, np.bool_)
        gone[np.asarray(kept[group.name], np.intp)] = False
        for member in group.members:
            if member.side in ("mixed", "scaled"):  # what becomes smaller there is cut elsewhere
                continue
            key: _Key = (member.module, member.side, member.axis)
            mask = masks.setdefault(key, np.ones(_width(modules, member), np.bool_))
            mask[member.positions[gone].ravel()] = False
    return {key: np.flatnonzero(mask) for key, mask in masks.items()}


def cut(
    model: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Sequence[int]], *, scaled: bool = True
) -> nn.Module:
    """Return a copy of the model in which only the kept channels of every group exist.

    Args:
        model: the traced model; it is not changed.
        groups: its channel groups.
        kept: group name -> the channels that stay; a group that is not named stays whole.
        scaled: whether queries of attention make up for the width of heads; without, weights are the model's.
    """
    model = copy.deepcopy(model)
    if scaled:
        scale(model, factors(model, groups, kept))
    modules = dict(model.named_modules())
    for (name, side, axis), positions in kept_positions(model, groups, kept).items():
        if is_attribute(modules, name):
            set_value(modules, Attribute(name, axis), len(positions))
            continue
        if name not in modules:
            parent, _, tensor = name.rpartition(".")
            _slice(modules[parent], tensor, axis, positions)
            continue
        module = modules[name]
        alike = side == "in" and loses_inputs(module)
        for tensor, tensor_axis in sliced(module, side):
            _slice(module, tensor, tensor_axis, in_one_group(module, positions) if alike else positions)
        if isinstance(module, Convolution):
            if side == "out":
                module.out_channels = len(positions)
            else:
                if not alike:
                    module.groups = module.groups * len(positions) // module.in_channels
                module.in_channels = len(positions)
        elif isinstance(module, nn.Linear):
            setattr(module, "out_features" if side == "out" else "in_features", len(positions))
        elif isinstance(module, nn.PReLU):
            module.num_parameters = len(positions)
        elif isinstance(module, nn.Embedding):
            module.embedding_dim = len(positions)
        else:
            setattr(module, "num_features", len(positions))  # noqa: B010 - a batch norm
    return model


def factors(
    model: nn.Module, groups: Iterable[ChannelGroup], kept: Mapping[str, Sequence[int]]
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Return what weights are multiplied by where channels go: queries that make up for the width of their heads.

    Args:
        model: the traced model.
        groups: its channel groups.
        kept: the channels that stay, for the groups that lose some.

    Returns:
        For layers (axis 0) and bare parameters, each with an axis, a factor for every position along it.
    """
    modules = dict(model.named_modules())
    found: dict[tuple[str, int], NDArray[np.float64]] = {}
    for group in groups:
        share = len(kept.get(group.name, range(group.channels))) / group.channels
        for member in group.members:
            if member.side == "scaled" and 0 < share < 1:
                whole = np.ones(_width(modules, replace(member, side="out")))
                found.setdefault((member.module, member.axis), whole)[member.positions.ravel()] *= math.sqrt(share)
    return found


@torch.no_grad()
def scale(model: nn.Module, by: Mapping[tuple[str, int], NDArray[np.float64]]) -> None:
    """Multiply weights in place; see `factors`."""
    modules = dict(model.named_modules())
    for (name, axis), along in by.items():
        of_layer = (
            [(f"{name}.{tensor}", each) for tensor, each in sliced(modules[name], "out")] if name in modules else []
        )
        for tensor_name, tensor_axis in of_layer or [(name, axis)]:
            tensor = model.get_parameter(tensor_name)
            shape = [-1 if dim == tensor_axis else 1 for dim in range(tensor.dim())]
            tensor.mul_(torch.as_tensor(along, dtype=tensor.dtype, device=tensor.device).view(shape))


def _width(modules: Mapping[str, nn.Module], member: Member) -> int:
    if member.module in modules:
        return width(modules[member.module], member.side)
    if is_attribute(modules, member.module):
        return value_of(modules, Attribute(member.module, member.axis))
    parent, _, tensor = member.module.rpartition(".")
    return int(getattr(modules[parent], tensor).shape[member.axis])


def _slice(module: nn.Module, name: str, axis: int, positions: NDArray[np.intp]) -> None:
    tensor = getattr(module, name)
    part = tensor.detach().index_select(axis, torch.as_tensor(positions, device=tensor.device))
    if isinstance(tensor, nn.Parameter):
        setattr(module, name, nn.Parameter(part, requires_grad=tensor.requires_grad))
    else:
        setattr(module, name, part)
