"""Residual blocks are found, proven, and counted as gone when a policy leaves them out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.errors import UsageError
from amc_hw.models.zoo import build_model
from amc_hw.pruning.surgery import first_channels, shrink, widened
from amc_hw.tracing.groups import Network, trace

IMAGE = torch.zeros(1, 3, 32, 32)


class Residual(nn.Module):
    """Adds what its parts make of the input, or does not."""

    def __init__(self, *parts: nn.Module, add: bool = True) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        return x + self.parts(x) if self.add else self.parts(x)


class SelfAttention(nn.Module):
    """A matrix product that is no layer, of a batch of images or of one."""

    def __init__(self, *, batch: bool) -> None:
        super().__init__()
        self.batch = batch

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2) if self.batch else x[0].flatten(1)
        return (flat @ flat.transpose(-1, -2) @ flat).view(x.shape)


def bottleneck(*last: nn.Module) -> list[nn.Module]:
    return [nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 1, 1), *last]


def network_of(*blocks: nn.Module) -> tuple[nn.Module, Network]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), *blocks, nn.Conv2d(8, 12, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)
    )
    return model.eval(), trace(model.eval(), IMAGE)


def names(network: Network) -> list[str]:
    return [block.name for block in network.blocks]


def test_the_residual_blocks_of_resnet20_are_found() -> None:
    network = trace(build_model("resnet20", 10).eval(), IMAGE)
    assert names(network) == [*(f"layer1.{i}" for i in range(3)), "layer2.1", "layer2.2", "layer3.1", "layer3.2"]
    assert [block.group for block in network.blocks] == [f"{name}.conv1" for name in names(network)]


def test_plain_networks_have_none() -> None:
    assert not trace(build_model("plain20", 10).eval(), IMAGE).blocks
    assert not network_of(Residual(*bottleneck(), add=False))[1].blocks


def test_blocks_of_several_groups_name_the_first() -> None:
    network = trace(torchvision.models.resnet50().eval(), torch.zeros(1, 3, 64, 64))
    block = next(block for block in network.blocks if block.name == "layer2.3")
    assert block.group == "layer2.3.conv1"
    assert block.inside == ("layer2.3.conv1", "layer2.3.conv2")
    assert len(network.blocks) == 12  # of 16: four change the width or the size


@pytest.mark.parametrize(
    "block",
    [
        Residual(*bottleneck(SelfAttention(batch=False))),  # its products are counted nowhere
        Residual(nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1)),  # no group of its own
        Residual(*bottleneck(nn.Sigmoid())),  # without it, the sum would lack a half
    ],
)
def test_what_is_no_removable_block(block: nn.Module) -> None:
    assert not network_of(block)[1].blocks


def test_a_block_is_removable_with_the_products_in_it() -> None:
    model, network = network_of(Residual(*bottleneck(SelfAttention(batch=True))))
    assert names(network) == ["1"]
    policy = {**network.original, "1.parts.0": 0}
    with FlopCounterMode(display=False) as counter:
        shrink(model, network, {**first_channels(network.original), "1.parts.0": []})(IMAGE)
    assert network.macs(policy) == counter.get_total_flops() // 2


class ChangedInPlace(nn.Module):
    """Changes a block's result in place, while what entered the block is read again."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2)
        self.blocks = nn.ModuleList(Residual(*bottleneck()) for _ in range(blocks))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        entered = x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x.relu_()
        return self.head((x - entered).mean((2, 3)))


@pytest.mark.parametrize(("blocks", "removable"), [(1, []), (2, ["blocks.0"])])
def test_blocks_are_held_against_their_zeros_alone_and_together(blocks: int, removable: list[str]) -> None:
    torch.manual_seed(0)
    model = ChangedInPlace(blocks).eval()
    assert names(trace(model, IMAGE)) == removable


def test_the_innermost_block_is_the_one() -> None:
    assert names(network_of(Residual(Residual(*bottleneck())))[1]) == ["1.parts.0"]


def test_blocks_that_share_weights_or_are_called_twice_stay() -> None:
    shared = Residual(*bottleneck())
    assert not network_of(shared, nn.ReLU(), shared)[1].blocks
    other = Residual(*bottleneck())
    other.parts[0].weight = shared.parts[0].weight
    assert not network_of(shared, other)[1].blocks


def test_excluded_layers_keep_their_block() -> None:
    model = build_model("resnet20", 10).eval()
    assert "layer1.1" not in names(trace(model, IMAGE, exclude=["layer1.1.conv2"]))
    assert names(trace(model, IMAGE, include=["layer3.*"])) == ["layer3.1", "layer3.2"]


def some_out(network: Network, seed: int) -> dict[str, int]:
    draw = np.random.default_rng(seed)
    policy = {group: int(draw.integers(1, count + 1)) for group, count in network.original.items()}
    return policy | {block.group: 0 for block in network.blocks if draw.random() < 0.5}


NETWORKS: list[tuple[str, Any, int]] = [
    ("resnet20", lambda: build_model("resnet20", 10), 32),
    ("mobilenet_v2", lambda: build_model("mobilenet_v2_cifar", 10), 32),
    ("resnet18", torchvision.models.resnet18, 64),
    ("mobilenet_v3_small", torchvision.models.mobilenet_v3_small, 64),
    ("regnet", torchvision.models.regnet_y_400mf, 64),
]


@pytest.mark.parametrize(("build", "size"), [row[1:] for row in NETWORKS], ids=[row[0] for row in NETWORKS])
def test_what_is_left_costs_what_was_predicted(build: Any, size: int) -> None:
    torch.manual_seed(0)
    model, image = build().eval(), torch.zeros(1, 3, size, size)
    network = trace(model, image)
    assert network.blocks
    for seed in range(3):
        policy = some_out(network, seed)
        small = shrink(model, network, first_channels(policy))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            small(image)
        assert counter.get_total_flops() // 2 == network.macs(policy)
        assert sum(parameter.numel() for parameter in small.parameters()) == network.params(policy)


def test_a_network_without_blocks_computes_what_the_zeroed_one_does() -> None:
    torch.manual_seed(0)
    model = build_model("resnet20", 10).eval()
    network = trace(model, IMAGE)
    kept = first_channels(some_out(network, 1))
    assert any(not len(channels) for channels in kept.values())
    small, x = shrink(model, network, kept), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(widened(model, network, kept, small, x)(x), small(x), rtol=1e-4, atol=1e-5)


def test_a_group_that_decides_about_no_block_keeps_a_channel() -> None:
    model, network = network_of(Residual(*bottleneck()))
    assert names(network) == ["1"]
    with pytest.raises(UsageError, match="at least one must stay"):
        shrink(model, network, {"2": []})
