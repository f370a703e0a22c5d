"""The layers with weights that are followed: convolutions of one to three dimensions, transposed or not, and linear."""

from __future__ import annotations

import re
from typing import TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Weighted: TypeAlias = nn.Linear | _ConvNd
Convolution = _ConvNd
Transposed = _ConvTransposeNd
"""Transposed convolutions: their weights are (inputs, outputs of a group, ...)."""

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


def map_dimensions(operator: str) -> int:
    """Return over how many last dimensions an ATen operator pools, resamples or pads a map; 0 of any other."""
    match = _OVER_THE_MAP.fullmatch(operator)
    if match is None:
        return 0
    return int(match["pooled"] or match["scaled"] or match["padded"])
