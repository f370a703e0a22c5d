from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.pruning.formulas import Formulas, Operands
from amc_hw.pruning.positions import PositionSampler


class TensorFlowSame(nn.Conv2d):
    """Pads as TensorFlow does: by the size of what comes in, more on the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, stride, kernel in zip(x.shape[:1:-1], self.stride[::-1], self.kernel_size[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def called(layer: nn.Module, x: Tensor) -> Operands:
    """Return what a layer's forward computes its formula from."""
    seen: list[Operands] = []
    with Formulas({"layer": layer}, before=lambda _, operands: seen.append(operands)):
        layer(x)
    (operands,) = seen
    return operands


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 8, 3, padding=1),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 9, (3, 1), padding="same", dilation=2),
        nn.Conv2d(6, 4, 5, padding=2, groups=2),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Conv2d(6, 8, 3, padding=(1, 2), padding_mode="reflect"),
        nn.Conv2d(6, 8, 1),
        nn.Conv2d(6, 8, (2, 4), padding="same"),
        nn.Conv2d(6, 8, 3, padding="valid"),
        TensorFlowSame(6, 8, (3, 4), stride=2),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")  # torch's
@pytest.mark.parametrize("points", [7, 1000])
def test_rows_times_weights_are_the_outputs(layer: Any, points: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6, 9, 11)
    sampler = PositionSampler(points, 0, "layer")
    rows = sampler.inputs(called(layer, x))
    weights = layer.weight.view(layer.groups, -1, rows.shape[2])
    found = torch.einsum("ngi,goi->ngo", rows, weights).flatten(1) + layer.bias
    torch.testing.assert_close(found, sampler.outputs(layer, layer(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 6), (3, 4, 6), (3, 2, 5, 6)])
def test_linear_layers_have_a_row_for_every_vector(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4), torch.randn(shape)
    sampler = PositionSampler(1000, 0, "layer")
    rows = sampler.inputs(called(layer, x))
    assert rows.shape == (x.numel() // 6, 1, 6)
    torch.testing.assert_close(layer(rows[:, 0]), sampler.outputs(layer, layer(x)))


def test_positions_differ_between_layers_and_images_and_not_between_calls() -> None:
    layer = nn.Conv2d(1, 1, 1)
    x = torch.arange(2 * 400.0).view(2, 1, 20, 20)
    first = PositionSampler(10, 0, "first").inputs(called(layer, x)).view(2, 10)
    assert torch.equal(first, PositionSampler(10, 0, "first").inputs(called(layer, x)).view(2, 10))
    assert not torch.equal(first, PositionSampler(10, 0, "second").inputs(called(layer, x)).view(2, 10))
    assert not torch.equal(first[0], first[1] - 400)
    assert (first[0].diff() > 0).all()  # spread over the map, none twice
