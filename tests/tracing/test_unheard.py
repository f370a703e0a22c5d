"""Layers that run and are not heard in the outputs: nothing proves how they may be cut, and they are whole."""

from __future__ import annotations

from typing import Any

import torch
from cut_check import check_cuts
from torch import Tensor, nn

from amc_hw.pruning.surgery import shrink
from amc_hw.tracing.groups import trace

EXAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class LearnsWithTwoHeads(nn.Module):
    """Runs both of its heads always, as YOLO26 does, and gives what one of them says once it has learned."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.SiLU())
        self.one, self.many = (nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        found = {name: head(x).view(len(x), 4, -1) for name, head in (("one", self.one), ("many", self.many))}
        return found if self.training else found["one"]


class Compares(nn.Module):
    """Compares, so that no gradient tells on what its output depends."""

    def __init__(self, silent: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.silent = silent

    def forward(self, x: Tensor) -> Tensor:
        above = self.first(x) > 0
        return self.last((above | True if self.silent else above).float())  # type: ignore[no-any-return]


def test_a_head_that_is_not_heard_keeps_its_channels_and_learns_on() -> None:
    model = LearnsWithTwoHeads().eval()
    network = check_cuts(model, EXAMPLE)
    assert network.original == {"body.0": 16, "one.0": 8}
    assert network.unprunable["many.0"] == "nothing that the network gives depends on its channels"
    small = shrink(model, network, {"body.0": range(4), "one.0": range(3)}).train()
    assert {name: tuple(each.shape) for name, each in small(EXAMPLE).items()} == {"one": (2, 4, 64), "many": (2, 4, 64)}


def test_what_is_heard_without_a_gradient_is_cut_and_what_is_not_is_left() -> None:
    assert check_cuts(Compares(silent=False).eval(), EXAMPLE).original == {"first": 8}
    network = trace(Compares(silent=True).eval(), EXAMPLE)
    assert not network.groups
    assert network.unprunable["first"] == "nothing that the network gives depends on its channels"
