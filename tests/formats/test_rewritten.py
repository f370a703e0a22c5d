"""What LiteRT's converter refuses or gets wrong is written by other operators, to the same effect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip("litert_torch")
from amc_hw.formats.tflite.convert import TfliteModel, to_tflite
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.formats.tflite.rewritten import Rewritten

MIDDLES: dict[str, Callable[[Tensor], Tensor]] = {
    "se expand_as": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid().expand_as(x),
    "expand": lambda x: x - x.mean(1, keepdim=True).expand(-1, 8, -1, -1),
    "reflected": lambda x: 1 / (1 + x.abs().mean(1, keepdim=True).expand_as(x)) * x,
    "repeat as expand": lambda x: x * x.mean(1, keepdim=True).repeat(1, 8, 1, 1),
    "repeat channels": lambda x: x[:, :4].repeat(1, 2, 1, 1),
    "tile sides": lambda x: torch.tile(x, (1, 2)),
    "normalize": lambda x: F.normalize(x, dim=1),
    "adaptive max 1": lambda x: x * F.adaptive_max_pool2d(x, 1),
    "adaptive max 3": lambda x: F.adaptive_max_pool2d(x, (3, 1)),
    "adaptive max none": lambda x: F.adaptive_max_pool2d(x, (None, 4)),
    "adaptive average 3": lambda x: F.adaptive_avg_pool2d(x, 3),
    "average without padding": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average of resnet-d": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False),
    "average beyond the end": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "nearest to 13": lambda x: F.interpolate(x, size=(13, 16), mode="nearest"),
    "nearest to the half": lambda x: F.interpolate(x, scale_factor=0.5),
}


class Around(nn.Module):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.first, self.last, self.names = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1), names

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps = self.first(image)
        return {name: self.last(middle(maps)).mean((2, 3)) for name, middle in MIDDLES.items() if name in self.names}


@pytest.mark.parametrize("by_numbers", [False, True], ids=["laid channels last", "pixels by their numbers"])
def test_a_file_computes_what_the_network_does(by_numbers: bool) -> None:
    torch.manual_seed(0)
    names = [name for name in MIDDLES if name.startswith("nearest to") == by_numbers]
    network, image = Around(names).eval(), torch.randn(1, 3, 10, 9)
    content = to_tflite(network, image)
    for (name, ours), theirs in zip(network(image).items(), TfliteModel(content).outputs([image.numpy()]), strict=True):
        np.testing.assert_allclose(theirs, ours.detach().numpy(), atol=1e-5, err_msg=name)


def test_squeezes_and_excitations_are_not_transposed() -> None:
    content = to_tflite(Around(["se expand_as"]).eval(), torch.randn(1, 3, 10, 9))
    assert "TRANSPOSE" not in TfliteGraph(content).kinds


@pytest.mark.parametrize("size", range(4, 12))
@pytest.mark.parametrize("options", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 3, 0), (5, 2, 2), (2, 3, 1)])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("counts_padding", [False, True])
def test_averages_of_any_windows(
    size: int, options: tuple[int, int, int], ceil_mode: bool, counts_padding: bool
) -> None:
    if size + 2 * options[2] < options[0]:
        pytest.skip("no window fits")
    images = torch.randn(2, 3, size, size + 1)
    pool = nn.AvgPool2d(*options, ceil_mode=ceil_mode, count_include_pad=counts_padding)
    torch.testing.assert_close(Rewritten(pool)(images), pool(images))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 9, 20])
def test_windows_and_nearest_pixels_of_any_size(size: int) -> None:
    images = torch.randn(2, 3, 9, 8)
    for pool in (nn.AdaptiveAvgPool2d(size), nn.AdaptiveMaxPool2d(size), nn.Upsample(size=(size, 11))):
        torch.testing.assert_close(Rewritten(pool)(images), pool(images))
    for factor in (0.5, 1.5, 2.0, 2.3):
        torch.testing.assert_close(
            Rewritten(nn.Upsample(scale_factor=factor))(images), nn.Upsample(scale_factor=factor)(images)
        )
