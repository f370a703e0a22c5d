"""The rows of a layer's least-squares problem: what it sees and gives at sampled output positions."""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from amc_hw.pruning.formulas import Operands, Size
from amc_hw.tracing.kinds import Weighted

Fitted = Weighted  # layers that can be fitted by least squares


class PositionSampler:
    """The sampled output positions of one layer, the same for all batches, in the original and in pruned networks.

    Every layer has positions of its own: where the layer before was fitted, its error is smaller than elsewhere.

    Args:
        points: positions per image; all of them, where the output has fewer.
        seed: of the choice, with the layer's name.
        name: of the layer.
    """

    def __init__(self, points: int, seed: int, name: str) -> None:
        self._points = points
        self._seed = zlib.crc32(f"{seed} {name}".encode())

    def inputs(self, called: Operands) -> Tensor:
        """Return (rows, groups, inputs of a group x kernel area) of what a layer is computed from."""
        if called.weight.dim() == 2:
            return self._pick(called.input).unsqueeze(1)
        kernel = tuple(called.weight.shape[2:])
        x = called.input
        stride, dilation = (each_dimension(size, len(kernel)) for size in (called.stride, called.dilation))
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        if called.transposed:  # a convolution of the map with zeros between its values, the filter turned round
            x, stride = functional.pad(_spread(x, stride), _outer_pads(called, spans)), (1,) * len(kernel)
        else:
            x = functional.pad(x, _pads(called.padding, spans))
        windows = _windows(x, kernel, stride, dilation, spans)
        size = windows.shape[1 : 1 + len(kernel)]
        where = torch.unravel_index(self._choose(len(x), math.prod(size)).to(x.device), size)
        image = torch.arange(len(x), device=x.device)[:, None]
        places = (image, *where)
        sampled = windows[places].flatten(0, 1)  # rows, kernel ..., channels
        if called.transposed:
            sampled = sampled.flip(tuple(range(1, 1 + len(kernel))))
        return sampled.flatten(1, -2).transpose(1, 2).reshape(len(sampled), called.groups, -1)

    def outputs(self, layer: Fitted, y: Tensor) -> Tensor:
        """Return (rows, outputs) of the layer's output, or of a tensor of its shape."""
        return self._pick(y) if isinstance(layer, nn.Linear) else self._pick(y.movedim(1, -1))

    def _pick(self, x: Tensor) -> Tensor:
        """Return the vectors along the last dimension at the sampled positions of the middle dimensions."""
        x = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
        image = torch.arange(len(x), device=x.device)[:, None]
        return x[image, self._choose(len(x), x.shape[1]).to(x.device)].flatten(0, 1)

    def _choose(self, images: int, positions: int) -> Tensor:
        if positions <= self._points:
            return torch.arange(positions).expand(images, positions)
        # One position in each of as many equal stretches of the map as there are points.
        chosen = torch.rand(images, self._points, generator=torch.Generator().manual_seed(self._seed))
        return ((torch.arange(self._points) + chosen) * (positions / self._points)).long().clamp(max=positions - 1)


def _windows(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], spans: list[int]
) -> Tensor:
    """Return a view (N, output positions ..., kernel ..., C) of a padded map (N, C, ...)."""
    x = x.movedim(1, -1).contiguous()
    images, *sizes, channels = x.shape
    of_image, *steps, of_channel = x.stride()
    positions = [(size - span) // each + 1 for size, span, each in zip(sizes, spans, stride, strict=True)]
    across = [step * each for step, each in zip(steps, stride, strict=True)]
    within = [step * each for step, each in zip(steps, dilation, strict=True)]
    return x.as_strided((images, *positions, *kernel, channels), (of_image, *across, *within, of_channel))


def _spread(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return a map (N, C, ...) with zeros between its values: one of them in each stride."""
    sizes = [(size - 1) * each + 1 for size, each in zip(x.shape[2:], stride, strict=True)]
    spread = x.new_zeros((*x.shape[:2], *sizes))
    places: tuple[Any, ...] = (slice(None), slice(None), *(slice(None, None, each) for each in stride))
    spread[places] = x
    return spread


def each_dimension(size: Size, dimensions: int) -> tuple[int, ...]:
    """Return a number for each dimension of a map, as PyTorch reads one number or several."""
    several = (size,) if isinstance(size, int) else tuple(size)
    return several * dimensions if len(several) == 1 else several


def _pads(padding: Size | str, spans: list[int]) -> list[int]:
    """Return the zeros before and behind the map, last dimension first, as PyTorch's convolution puts them there."""
    if padding == "same":
        return [zeros for span in reversed(spans) for zeros in ((span - 1) // 2, span - 1 - (span - 1) // 2)]
    each = each_dimension(0 if isinstance(padding, str) else padding, len(spans))
    return [zeros for zeros in reversed(each) for _ in range(2)]


def _outer_pads(called: Operands, spans: list[int]) -> list[int]:
    """Return the zeros around a transposed convolution's spread map, last dimension first; less than none crops it."""
    cropped = 0 if isinstance(called.padding, str) else called.padding
    numbers = zip(spans, *(each_dimension(size, len(spans)) for size in (cropped, called.output_padding)), strict=True)
    return [zeros for span, crop, more in [*numbers][::-1] for zeros in (span - 1 - crop, span - 1 - crop + more)]
