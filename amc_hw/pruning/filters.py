"""A layer's weights as the matrix of its least-squares problem: a row for each output, whatever kind of layer it is."""

from __future__ import annotations

from torch import Tensor

from amc_hw.tracing.kinds import Transposed, Weighted, inputs_per_group


def filters(layer: Weighted) -> Tensor:
    """Return a layer's weights as (outputs, inputs of a group x kernel area)."""
    return as_filters(layer, layer.weight)


def as_filters(layer: Weighted, values: Tensor) -> Tensor:
    """Return values of the shape of a layer's weights, such as their gradient, as `filters` has the weights."""
    if not isinstance(layer, Transposed):
        return values.flatten(1)
    parts = values.reshape(layer.groups, inputs_per_group(layer), values.shape[1], -1)
    return parts.transpose(1, 2).flatten(0, 1).flatten(1)


def set_filters(layer: Weighted, values: Tensor) -> None:
    """Replace a layer's weights by (outputs, inputs of a group x kernel area), or a tensor of as many in that order."""
    if isinstance(layer, Transposed):
        values = values.reshape(layer.groups, layer.weight.shape[1], inputs_per_group(layer), -1).transpose(1, 2)
    layer.weight.data.copy_(values.reshape(layer.weight.shape))


def kernel_area(layer: Weighted) -> int:
    """Return how many weights there are between an input and an output."""
    return layer.weight[0, 0].numel()
