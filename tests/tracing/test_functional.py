"""Layers without a module: a forward that multiplies with parameters of its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from cut_check import Net
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.pruning.pruner import Pruner
from amc_hw.tracing.groups import trace
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import masked


class Own(nn.Module):
    """A convolution, a depthwise one and a linear layer, all of bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(12, 8, 3, 3)), nn.Parameter(torch.randn(12))
        self.depth, self.groups = nn.Parameter(torch.randn(12, 1, 3, 3)), 12
        self.linear = nn.Parameter(torch.randn(6, 12))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.weight, self.bias, padding=1))
        x = F.conv2d(x, weight=self.depth, padding=1, groups=self.groups)
        return F.linear(x.flatten(2).transpose(1, 2), self.linear)


def network() -> Net:
    return Net(
        lambda net, x: net.head(net.own(F.relu(net.stem(x))).mean(1)),
        stem=nn.Conv2d(3, 8, 3),
        own=Own(),
        head=nn.Linear(6, 4),
    )


def test_layers_of_bare_parameters_are_cut_with_the_groups_that_a_module_holds() -> None:
    torch.manual_seed(0)
    model, x = network().eval(), torch.randn(2, 3, 7, 7)
    traced = trace(model, x[:1])
    assert traced.original == {"stem": 8, "own.weight": 12, "own.linear": 6}
    kept = {"stem": [1, 2, 7], "own.weight": [0, 3, 4, 11], "own.linear": [1, 5]}
    small: Any = cut(model, traced.groups, kept)
    assert small.own.groups == 4
    assert small.own.bias.shape == (4,)
    torch.testing.assert_close(small(x), masked(model, traced.groups, kept)(x), rtol=1e-4, atol=1e-5)
    policy = {name: len(channels) for name, channels in kept.items()}
    with FlopCounterMode(display=False) as counter:
        small(x[:1])
    assert traced.macs(policy) == counter.get_total_flops() // 2
    assert traced.params(policy) == sum(parameter.numel() for parameter in small.parameters())


def test_they_are_pruned_and_named_as_not_fitted() -> None:
    model = network().eval()
    images = torch.randn(32, 3, 7, 7)
    pruner = Pruner(model, trace(model, images[:1]), images)
    assert {"own.weight", "own.depth", "own.linear"} == set(pruner.not_reconstructed)
    assert pruner.pruned({"stem": 4, "own.weight": 6, "own.linear": 3})(images).shape == (32, 4)


def test_a_weight_that_is_used_in_another_way_too_is_left_alone() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x, net.weight)), net.weight.t()) + net.last(F.relu(net.first(x)))

    model = Net(forward, first=nn.Linear(5, 6), last=nn.Linear(6, 5))
    model.weight = nn.Parameter(torch.randn(8, 5))
    traced = trace(model, torch.zeros(1, 5))
    assert traced.original == {"first": 6}
