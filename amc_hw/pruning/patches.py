"""Rows of a least-squares problem: what one convolution or linear layer sees at sampled output positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Consumer = nn.Conv2d | nn.Linear


class Patches:
    """The positions of a layer's output that are sampled: the same for every image batch of the same order, so that the rows of
    the original and of a pruned network belong together.

    Args:
        layer: a convolution with one group, or a linear layer.
        points: positions per image (all of them, where the output has fewer).
        seed: of the choice.
    """

    def __init__(self, layer: nn.Module, points: int, seed: int) -> None:
        self._layer = layer
        self._points = points
        self._seed = seed

    def rows(self, x: Tensor, start: int) -> Tensor:
        """Return the inputs (rows, inputs x kernel area) of the sampled positions of images ``start`` .. ``start + len(x)``."""
        layer = self._layer
        if isinstance(layer, nn.Linear):
            x = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
            where = self._choose(len(x), x.shape[1], start)
            return x[torch.arange(len(x))[:, None], where].flatten(0, 1)
        assert isinstance(layer, nn.Conv2d)  # noqa: S101 - the only other kind of consumer
        x = _padded(layer, x)
        height, width = layer.kernel_size
        spans = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        rows, columns = ((size - span) // s + 1 for size, span, s in zip(x.shape[2:], spans, layer.stride, strict=True))
        where = self._choose(len(x), rows * columns, start)
        top = (where // columns * layer.stride[0])[:, :, None, None] + torch.arange(height)[:, None] * layer.dilation[0]
        left = (where % columns * layer.stride[1])[:, :, None, None] + torch.arange(width) * layer.dilation[1]
        image = torch.arange(len(x))[:, None, None, None]
        patches = x.permute(0, 2, 3, 1)[image, top, left]  # images, points, height, width, channels
        return patches.permute(0, 1, 4, 2, 3).flatten(2).flatten(0, 1)

    def outputs(self, y: Tensor, start: int) -> Tensor:
        """Return the outputs (rows, outputs) at the same positions."""
        if isinstance(self._layer, nn.Linear):
            y = y.flatten(1, -2) if y.dim() > 2 else y.unsqueeze(1)
        else:
            y = y.flatten(2).transpose(1, 2)
        where = self._choose(len(y), y.shape[1], start)
        return y[torch.arange(len(y))[:, None], where].flatten(0, 1)

    def _choose(self, images: int, positions: int, start: int) -> Tensor:
        if positions <= self._points:
            return torch.arange(positions).expand(images, positions)
        chosen = [
            torch.randperm(positions, generator=torch.Generator().manual_seed(self._seed + start + image))[: self._points]
            for image in range(images)
        ]
        return torch.stack(chosen)


def _padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
