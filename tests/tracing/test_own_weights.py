"""Networks whose copies compute with others' weights, and broken weights, are refused when they are traced."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from cut_check import Net
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.tracing.groups import trace

EXAMPLE = torch.zeros(1, 3, 8, 8)


class WithFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.head = lambda x: self.last(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).relu())


class WithList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.others = [nn.Conv2d(8, 4, 3)]

    def forward(self, x: Tensor) -> Tensor:
        return self.others[0](self.first(x).relu())


@pytest.mark.parametrize("model", [WithFunction(), copy.deepcopy(WithFunction()), WithList()])
def test_weights_that_a_copy_does_not_have_are_refused(model: nn.Module) -> None:
    with pytest.raises(UnsupportedModelError, match=r"a weight \(4x8x3x3\) that is not among its parameters"):
        trace(model, EXAMPLE)


def test_a_parameter_that_every_forward_makes_is_no_weight_of_another() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.first(x) * nn.Parameter(torch.ones(8, 1, 1)))

    model = Net(forward, first=nn.Conv2d(3, 8, 3), last=nn.Conv2d(8, 4, 3)).eval()
    trace(model, EXAMPLE)


def test_weights_that_are_no_numbers_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))
    model[0].bias.data[2] = torch.nan
    model[1].running_var[1] = torch.nan
    with pytest.raises(UsageError, match=r"'0\.bias' and 1 more of the network hold NaN"):
        trace(model, EXAMPLE)


def test_a_mask_of_minus_infinity_is_no_broken_weight() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        scores = net.last(net.first(x)).flatten(2) + net.mask
        return scores.softmax(-1)

    model = Net(forward, first=nn.Conv2d(3, 8, 3), last=nn.Conv2d(8, 4, 3))
    model.mask = nn.Parameter(torch.tensor([0.0] * 8 + [-torch.inf] * 8))
    assert "first" in trace(model.eval(), EXAMPLE).original
