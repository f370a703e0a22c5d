"""The rows of a layer's least-squares problem: what it sees and gives at sampled output positions."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn
from torch.nn import functional

Fitted = nn.Conv2d | nn.Linear  # layers that can be fitted by least squares


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

    def inputs(self, layer: Fitted, x: Tensor) -> Tensor:
        """Return (rows, groups, inputs of a group x kernel area) for the layer's input."""
        if isinstance(layer, nn.Linear):
            return self._pick(x).unsqueeze(1)
        padding = layer._reversed_padding_repeated_twice
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = functional.pad(x, padding, mode=mode).permute(0, 2, 3, 1).contiguous()
        images, height, width, channels = x.shape
        spans = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        size = ((height - spans[0]) // layer.stride[0] + 1, (width - spans[1]) // layer.stride[1] + 1)
        of_image, of_row, of_column, of_channel = x.stride()
        windows = x.as_strided(
            (images, *size, *layer.kernel_size, channels),
            (
                of_image,
                of_row * layer.stride[0],
                of_column * layer.stride[1],
                of_row * layer.dilation[0],
                of_column * layer.dilation[1],
                of_channel,
            ),
        )
        where = self._choose(images, size[0] * size[1]).to(x.device)
        image = torch.arange(images, device=x.device)[:, None]
        sampler = windows[image, where // size[1], where % size[1]].flatten(0, 1)  # rows, kernel, kernel, channels
        return sampler.flatten(1, 2).transpose(1, 2).reshape(len(sampler), layer.groups, -1)

    def outputs(self, layer: Fitted, y: Tensor) -> Tensor:
        """Return (rows, outputs) of the layer's output, or of a tensor of its shape."""
        return self._pick(y) if isinstance(layer, nn.Linear) else self._pick(y.permute(0, 2, 3, 1))

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
