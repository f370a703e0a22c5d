"""Transposed convolutions as TFLite can have them: those whose padding has no name there are cropped instead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from amc_hw.pruning.positions import each_dimension

_SIDES = {torch.conv_transpose1d: 1, torch.conv_transpose2d: 2, torch.conv_transpose3d: 3}
"""Each with its number of spatial dimensions."""


class CroppedConvolutions(TorchFunctionMode):
    """Computes transposed convolutions without padding, and crops what they give."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        sides = _SIDES.get(func)
        return func(*args, **(kwargs or {})) if sides is None else _transposed(func, sides, *args, **(kwargs or {}))


def _transposed(
    func: Any,
    sides: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    steps, cut, extra, apart = (each_dimension(value, sides) for value in (stride, padding, output_padding, dilation))
    kernel = [(size - 1) * gap + 1 for size, gap in zip(weight.shape[2:], apart, strict=True)]
    named = all(
        not after and (not before or 2 * before == size - step)
        for before, after, size, step in zip(cut, extra, kernel, steps, strict=True)
    )
    if named:
        as_it_is: Tensor = func(input, weight, bias, stride, padding, output_padding, groups, dilation)
        return as_it_is
    missing = [max(0, after - before) for before, after in zip(cut, extra, strict=True)]
    whole: Tensor = func(input, weight, bias, steps, 0, missing, groups, apart)
    first = input.dim() - sides
    for axis, (before, after, size, step) in enumerate(zip(cut, extra, kernel, steps, strict=True), start=first):
        length = (input.shape[axis] - 1) * step - 2 * before + size + after
        whole = whole.narrow(axis, before, length)
    return whole
