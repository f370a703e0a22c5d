"""Convolutions of one to three dimensions, and transposed ones, are cut like those of images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cut_check import Net, check_cuts
from torch import Tensor, nn

from amc_hw.tracing.slicing import cut

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEANS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def block(dims: int, c_in: int, c_out: int, groups: int = 1) -> nn.Sequential:
    conv = CONVOLUTIONS[dims](c_in, c_out, 3, padding=1, groups=groups, bias=False)
    return nn.Sequential(conv, NORMS[dims](c_out), nn.ReLU())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_classifier_of_one_to_three_dimensions_is_cut(dims: int) -> None:
    """Shaped like DS-CNN: a stem, a depthwise and a pointwise convolution."""
    model = nn.Sequential(
        block(dims, 2, 8), block(dims, 8, 8, groups=8), CONVOLUTIONS[dims](8, 12, 1), POOLS[dims](2), nn.PReLU(12)
    )
    model.extend([MEANS[dims](1), nn.Flatten(), nn.Linear(12, 4)])
    check_cuts(model, torch.randn(2, 2, *(6,) * dims), {"0.0": 8, "2": 12})


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_unet_with_transposed_convolutions_is_cut(dims: int) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        one = net.one(x)
        two = net.two(net.pool(one))
        return net.last(net.three(torch.cat([net.up(two), one], 1)))

    model = Net(
        forward,
        one=block(dims, 2, 8),
        pool=POOLS[dims](2),
        two=block(dims, 8, 12),
        up=TRANSPOSED[dims](12, 6, 2, 2),
        three=block(dims, 14, 8),
        last=CONVOLUTIONS[dims](8, 3, 1),
    )
    groups = {"one.0": 8, "two.0": 12, "up": 6, "three.0": 8}
    network = check_cuts(model, torch.randn(2, 2, *(4,) * dims), groups)
    small = cut(model, network.groups, {"two.0": [1, 2, 3], "up": [0, 5]})
    assert (small.up.in_channels, small.up.out_channels) == (3, 2)
    assert small.up.weight.shape == (3, 2, *(2,) * dims)


@pytest.mark.parametrize(("groups", "outputs"), [(1, 6), (4, 8), (8, 8), (8, 16)])
def test_transposed_convolutions_lose_whole_groups(groups: int, outputs: int) -> None:
    up = nn.ConvTranspose2d(8, outputs, 3, stride=2, padding=1, output_padding=1, groups=groups)
    model = nn.Sequential(block(2, 2, 8), up, nn.BatchNorm2d(outputs), nn.Conv2d(outputs, 3, 1))
    network = check_cuts(model, torch.randn(2, 2, 5, 5))
    assert network.original["0.0"] == (8 if groups == 1 else groups)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_of_few_wide_groups_lose_as_much_of_each(dims: int) -> None:
    grouped = CONVOLUTIONS[dims](16, 24, 3, groups=2)
    model = nn.Sequential(block(dims, 2, 16), grouped, nn.ReLU(), CONVOLUTIONS[dims](24, 3, 1))
    network = check_cuts(model, torch.randn(2, 2, *(5,) * dims), {"0.0": 8, "1": 12})
    small = cut(model, network.groups, {"0.0": [1, 6], "1": [0, 4, 5]})
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (2, 4, 6)
    torch.testing.assert_close(small[1].weight, grouped.weight[[0, 4, 5, 12, 16, 17]][:, [1, 6]])


@pytest.mark.parametrize(
    ("dims", "modes"), [(1, ("nearest", "linear")), (2, ("nearest", "bilinear")), (3, ("nearest", "trilinear"))]
)
def test_maps_are_resampled_pooled_and_padded(dims: int, modes: tuple[str, ...]) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.one(x)
        for mode in modes:
            x = F.interpolate(x, scale_factor=2, mode=mode)
            x = getattr(F, f"avg_pool{dims}d")(F.pad(x, (1, 1) * dims, "replicate"), 2)
        x = getattr(F, f"max_pool{dims}d")(F.pad(x, (1, 0) * dims, "reflect"), 3, 1, 1)
        return net.last(getattr(F, f"adaptive_max_pool{dims}d")(F.pad(x, (1, 0) * dims), 2))

    model = Net(forward, one=block(dims, 2, 8), last=CONVOLUTIONS[dims](8, 3, 1))
    check_cuts(model, torch.randn(2, 2, *(6,) * dims), {"one.0": 8})


def test_a_residual_that_is_broadcast_over_frequencies_is_cut() -> None:
    """BC-ResNet's broadcast residual: a mean over frequencies, a temporal depthwise convolution, added to all."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        y = net.frequency(x)
        z = net.temporal(y.mean(2, keepdim=True))
        return net.last(F.relu(x + y + z).mean((2, 3), keepdim=True)).flatten(1)

    model = Net(
        forward,
        stem=block(2, 1, 8),
        frequency=nn.Sequential(nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=8), nn.BatchNorm2d(8)),
        temporal=nn.Sequential(nn.Conv2d(8, 8, (1, 3), padding=(0, 2), dilation=(1, 2), groups=8), nn.Conv2d(8, 8, 1)),
        last=nn.Conv2d(8, 4, 1),
    )
    check_cuts(model, torch.randn(2, 1, 8, 10), {"stem.0": 8})
