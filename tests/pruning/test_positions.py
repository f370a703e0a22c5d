from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from amc_hw.pruning.positions import PositionSampler


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
    ],
)
@pytest.mark.parametrize("points", [7, 1000])
def test_rows_times_weights_are_the_outputs(layer: Any, points: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6, 9, 11)
    sampler = PositionSampler(points, 0, "layer")
    rows = sampler.inputs(layer, x)
    weights = layer.weight.view(layer.groups, -1, rows.shape[2])
    found = torch.einsum("ngi,goi->ngo", rows, weights).flatten(1) + layer.bias
    torch.testing.assert_close(found, sampler.outputs(layer, layer(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 6), (3, 4, 6), (3, 2, 5, 6)])
def test_linear_layers_have_a_row_for_every_vector(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4), torch.randn(shape)
    sampler = PositionSampler(1000, 0, "layer")
    rows = sampler.inputs(layer, x)
    assert rows.shape == (x.numel() // 6, 1, 6)
    torch.testing.assert_close(layer(rows[:, 0]), sampler.outputs(layer, layer(x)))


def test_positions_differ_between_layers_and_images_and_not_between_calls() -> None:
    layer = nn.Conv2d(1, 1, 1)
    x = torch.arange(2 * 400.0).view(2, 1, 20, 20)
    first = PositionSampler(10, 0, "first").inputs(layer, x).view(2, 10)
    assert torch.equal(first, PositionSampler(10, 0, "first").inputs(layer, x).view(2, 10))
    assert not torch.equal(first, PositionSampler(10, 0, "second").inputs(layer, x).view(2, 10))
    assert not torch.equal(first[0], first[1] - 400)
    assert (first[0].diff() > 0).all()  # spread over the map, none twice
