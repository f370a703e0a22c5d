"""The rows of a layer's least-squares problem: what it sees and gives at sampled output positions."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from amc_hw.pruning.formulas import Operands, Size

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

    def inputs(self, called: Operands) -> Tensor:
        """Return (rows, groups, inputs of a group x kernel area) of what a layer is computed from."""
        if called.weight.dim() == 2:
            return self._pick(called.input).unsqueeze(1)
        kernel = (called.weight.shape[2], called.weight.shape[3])
        stride, dilation = _pair(called.stride), _pair(called.dilation)
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        x = functional.pad(called.input, _pads(called.padding, spans)).permute(0, 2, 3, 1).contiguous()
        images, height, width, channels = x.shape
        size = ((height - spans[0]) // stride[0] + 1, (width - spans[1]) // stride[1] + 1)
        of_image, of_row, of_column, of_channel = x.stride()
        windows = x.as_strided(
            (images, *size, *kernel, channels),
            (
                of_image,
                of_row * stride[0],
                of_column * stride[1],
                of_row * dilation[0],
                of_column * dilation[1],
                of_channel,
            ),
        )
        where = self._choose(images, size[0] * size[1]).to(x.device)
        image = torch.arange(images, device=x.device)[:, None]
        sampler = windows[image, where // size[1], where % size[1]].flatten(0, 1)  # rows, kernel, kernel, channels
        return sampler.flatten(1, 2).transpose(1, 2).reshape(len(sampler), called.groups, -1)

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


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def _pads(padding: Size | str, spans: list[int]) -> list[int]:
    """Return the zeros left, right, above and below the map, as PyTorch's convolution puts them there."""
    if padding == "same":
        rows, columns = (span - 1 for span in spans)
        return [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
    rows, columns = _pair(0 if isinstance(padding, str) else padding)
    return [columns, columns, rows, rows]
