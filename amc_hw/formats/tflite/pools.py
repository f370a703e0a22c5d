"""Pooling and resizing as TFLite has them: windows that all count alike, and pixels that are taken by their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from amc_hw.pruning.positions import each_dimension


class PlainPools(TorchFunctionMode):
    """Computes by such operators what LiteRT's converter refuses, writes as control flow, or gets wrong."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        rewritten = _REWRITTEN.get(func)
        found = None if rewritten is None else rewritten(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if found is None else found


def _average(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor | None:
    """Return averages whose windows may reach beyond the map: as if it ended with zeros, by what each one counts."""
    if input.dim() != 4 or divisor_override is not None or (count_include_pad and not ceil_mode):
        return None
    kernel, before = each_dimension(kernel_size, 2), each_dimension(padding, 2)
    steps = each_dimension(stride or kernel_size, 2)
    beyond = (ceil_mode, count_include_pad)
    (rows, below), (columns, right) = (
        _windows(input.shape[2 + axis], kernel[axis], steps[axis], before[axis], *beyond) for axis in (0, 1)
    )
    if any(before) or below or right:
        input = F.pad(input, (before[1], before[1] + right, before[0], before[0] + below))
    averages = F.avg_pool2d(input, tuple(kernel), tuple(steps))
    if set(rows) == {kernel[0]} and set(columns) == {kernel[1]}:
        return averages
    more = [[kernel[0] * kernel[1] / (row * column) for column in columns] for row in rows]
    return averages * torch.tensor([[more]], dtype=input.dtype)


def _windows(size: int, kernel: int, step: int, before: int, ceil_mode: bool, count_pad: bool) -> tuple[list[int], int]:
    """Return how many positions of a side each window counts, and how far the last one reaches beyond the padding."""
    room = size + 2 * before - kernel
    count = (math.ceil(room / step) if ceil_mode else room // step) + 1
    if ceil_mode and (count - 1) * step >= size + before:  # a window may not begin in the padding on the right
        count -= 1
    starts = [number * step - before for number in range(count)]
    ends = [min(start + kernel, size + before) for start in starts]
    counted = [
        end - start if count_pad else min(end, size) - max(start, 0) for start, end in zip(starts, ends, strict=True)
    ]
    return counted, max(0, (count - 1) * step - room)


def _adaptive(reduced: Callable[..., Tensor]) -> Callable[..., Tensor | None]:
    """Return how a map is reduced in windows whose sizes suit it."""

    def pooled(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor | None:
        sizes = [
            side if size is None else size for side, size in zip(input.shape[-2:], _pair(output_size), strict=True)
        ]
        if input.dim() != 4 or return_indices or (reduced is torch.mean and _divide(input, sizes)):
            return None
        for axis, size in enumerate(sizes, start=2):
            side = input.shape[axis]
            ends = [(number * side // size, -(-(number + 1) * side // size)) for number in range(size)]
            parts = [reduced(input.narrow(axis, start, end - start), (axis,), keepdim=True) for start, end in ends]
            input = torch.cat(parts, axis) if len(parts) > 1 else parts[0]
        return input

    return pooled


def _most(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor | None:
    """Return the largest values, of windows of one size where the map has those."""
    sizes = [side if size is None else size for side, size in zip(input.shape[-2:], _pair(output_size), strict=True)]
    if input.dim() == 4 and not return_indices and _divide(input, sizes):
        if sizes == [1, 1]:
            return input.amax((2, 3), keepdim=True)
        return F.max_pool2d(input, tuple(side // size for side, size in zip(input.shape[2:], sizes, strict=True)))
    return _adaptive(torch.amax)(input, output_size, return_indices)


def _resized(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *others: Any, **named: Any
) -> Tensor | None:
    """Return a map of the nearest pixels by PyTorch's rule; TFLite's file is by another, but for whole multiples."""
    if mode != "nearest" or input.dim() != 4 or any(others) or any(named.values()):
        return None
    sides = input.shape[2:]
    factors: list[Any] = [None, None] if scale_factor is None else _pair(scale_factor)
    wanted = _pair(size)
    if size is None:
        wanted = [int(side * factor) for side, factor in zip(sides, factors, strict=True)]
    for axis, (side, goal, factor) in enumerate(zip(sides, wanted, factors, strict=True), start=2):
        if goal % side:
            step = side / goal if factor is None else 1 / factor
            places = [min(int(number * step), side - 1) for number in range(goal)]
            input = input.index_select(axis, torch.tensor(places))
    rest = [goal // now for goal, now in zip(wanted, input.shape[2:], strict=True)]
    if rest == [1, 1]:
        return input
    return F.interpolate(input, size=tuple(wanted), mode="nearest")


def _pair(value: Any) -> list[Any]:
    return [*value] if isinstance(value, tuple | list) else [value, value]


def _divide(input: Tensor, sizes: list[int]) -> bool:
    return all(side % size == 0 for side, size in zip(input.shape[-2:], sizes, strict=True))


_REWRITTEN: dict[Any, Callable[..., Tensor | None]] = {
    F.avg_pool2d: _average,
    F.adaptive_max_pool2d: _most,
    F.adaptive_avg_pool2d: _adaptive(torch.mean),
    F.interpolate: _resized,
}
