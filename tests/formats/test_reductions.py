"""Maps that are reduced to one number a channel: in a TFLite file they are not transposed for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cut_check import Net
from torch import Tensor, nn

from amc_hw.formats.check import TOLERANCE, output_difference
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.tflite.rewritten import Rewritten

WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean((2, 3)),
    "named": lambda x: torch.mean(x, dim=(-1, -2), keepdim=False),
    "sum": lambda x: x.sum([2, 3], False),
    "amax": lambda x: x.amax((3, 2)),
    "kept": lambda x: torch.amax(x, (2, 3), True).flatten(1),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_transposed(way: str) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        scores: Tensor = net.last(WAYS[way](net.one(x).relu()))
        return scores

    network = Net(forward, one=nn.Conv2d(3, 8, 3), last=nn.Linear(8, 5)).eval()
    content = FORMATS["tflite"].convert(network, torch.zeros(1, 3, 8, 8))
    assert "TRANSPOSE" not in {operator.kind for operator in FORMATS["tflite"].read(content).operators()}
    assert output_difference(network, FORMATS["tflite"].load(content), torch.randn(3, 3, 8, 8)) <= TOLERANCE


OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    **WAYS,
    "all": lambda x: x.mean(),
    "one side": lambda x: x.mean(3),
    "channels": lambda x: x.sum((1, 2)),
    "type": lambda x: x.sum((2, 3), dtype=torch.float64),
}


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_what_is_written_is_what_was_asked_for(way: str, shape: tuple[int, ...]) -> None:
    network = Net(lambda net, x: OTHERS[way](x))
    x = torch.randn(shape)
    torch.testing.assert_close(Rewritten(network)(x), network(x))
