"""The layers with weights that are followed: convolutions of one to three dimensions, transposed or not, and linear."""

from __future__ import annotations

import re
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Weighted: TypeAlias = nn.Linear | _ConvNd
Convolution = _ConvNd
Transposed = _ConvTransposeNd
"""Transposed convolutions: their weights are (inputs, outputs of a group, ...)."""

_Positions = TypeVar("_Positions", NDArray[np.intp], Tensor)

_OVER_THE_MAP = re.compile(
    r"(_?adaptive_)?(avg|max)_pool(?P<pooled>[123])d(_with_indices)?"
    r"|_?upsample_(nearest|nearest_exact|linear|bilinear|bicubic|trilinear)(?P<scaled>[123])d(_aa)?"
    r"|(reflection|replication)_pad(?P<padded>[123])d"
)


def input_axis(layer: Weighted) -> int:
    """Return along which axis of a layer's weights its inputs lie; of a grouped convolution, those of a group."""
    return 0 if isinstance(layer, Transposed) else 1


def in_equal_parts(layer: nn.Module) -> bool:
    """Tell whether a grouped convolution loses as much of each group, and not whole groups: of what it has more."""
    if not isinstance(layer, Convolution) or isinstance(layer, Transposed):
        return False
    return 1 < layer.groups < layer.in_channels // layer.groups


def loses_inputs(layer: nn.Module) -> bool:
    """Tell whether outputs that stay are made from inputs that go; of others whole filters go with their inputs."""
    return isinstance(layer, Weighted) and (getattr(layer, "groups", 1) == 1 or in_equal_parts(layer))


def inputs_per_group(layer: Weighted) -> int:
    """Return how many inputs one output is made from."""
    return layer.weight.shape[0] // layer.groups if isinstance(layer, Transposed) else layer.weight.shape[1]


def in_one_group(layer: Weighted, positions: _Positions) -> _Positions:
    """Return those of some inputs that are in the first group; of a layer that loses inputs, all groups are alike."""
    return positions[positions < inputs_per_group(layer)]


def map_dimensions(operator: str) -> int:
    """Return over how many last dimensions an ATen operator pools, resamples or pads a map; 0 of any other."""
    match = _OVER_THE_MAP.fullmatch(operator)
    if match is None:
        return 0
    return int(match["pooled"] or match["scaled"] or match["padded"])
