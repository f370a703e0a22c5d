"""Rules for what moves values without computing any."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from amc_hw.tracing.labels import compact, first, varies
from amc_hw.tracing.norms import Rule
from amc_hw.tracing.operator import Operator


def pad(op: Operator) -> list[Tensor]:
    """Constants beside the channels are channels of their own; those around the map belong to the channel."""
    labels, pads = op.labels(op.args[0]), op.args[1]
    for index in range(len(pads) // 2):
        dim = labels.dim() - 1 - index
        before, after = pads[2 * index], pads[2 * index + 1]
        if varies(labels, dim):
            if min(before, after) < 0:
                op.keep(labels, "crops its channels")
            labels = nn.functional.pad(labels, [0, 0] * index + [before, after])
        else:
            shape = (*labels.shape[:dim], op.results[0].size(dim), *labels.shape[dim + 1 :])
            labels = first(labels, [dim]).expand(shape)
    return [compact(labels)]


def cat(op: Operator) -> list[Tensor]:
    """Of what is laid side by side along another dimension than the channels' (class tokens and others), they meet."""
    parts = [op.labels(tensor) for tensor in op.args[0]]
    dim = op.args[1] if len(op.args) > 1 else op.kwargs.get("dim", 0)
    labels = torch.cat(parts, dim)
    along = [varies(part, dim) for part in parts if part.dim() == labels.dim()]
    apart = any(varies(part, other) for part in parts for other in range(part.dim()))
    return [compact(op.book.along(labels, dim) if apart and not any(along) else labels)]


def strided(op: Operator) -> list[Tensor] | None:
    """Other strides for the same elements in their order, as pools give them to results of one position."""
    shape, strides = op.args[1], op.args[2]
    sizes = [size for size in shape if size > 1]
    steps = [step for size, step in zip(shape, strides, strict=True) if size > 1]
    in_order = steps == [math.prod(sizes[index + 1 :]) for index in range(len(sizes))]
    labels = op.labels(op.args[0])
    return [labels] if in_order and len(op.args) == 3 and list(labels.shape) == list(shape) else None


RULES: dict[str, Rule] = {"cat": cat, "constant_pad_nd": pad, "as_strided_": strided}
