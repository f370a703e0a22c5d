from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from amc_hw.tracing.same import computes_the_same, relative_difference

VALUES = torch.tensor([100.0, 101.0, 102.0])


def test_a_difference_is_a_share_of_the_range_of_the_values_and_not_of_their_size() -> None:
    assert relative_difference(VALUES, VALUES + torch.tensor([0.0, 0.0, 1.0])) == pytest.approx(0.5)
    assert relative_difference(VALUES[:1], VALUES[:1] * 1.1) == pytest.approx(0.1, rel=1e-4)


def test_the_worst_of_several_tensors_counts() -> None:
    assert relative_difference({"a": VALUES, "b": [VALUES, 3]}, {"a": VALUES, "b": [VALUES + 1, 3]}) == 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (VALUES * math.nan, VALUES * math.nan),
        (VALUES, VALUES * math.inf),
        (VALUES, VALUES[:1]),
        (VALUES, VALUES.double()),
        (VALUES, [VALUES]),
        ([VALUES, 3], [VALUES, 4]),
        ([VALUES, object()], [VALUES, object()]),
        ([], []),
    ],
)
def test_what_cannot_be_compared_is_different(one: Any, other: Any) -> None:
    assert relative_difference(one, other) == math.inf


def test_networks_are_compared_in_evaluation_mode_and_left_in_theirs() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    model[1].eval()
    assert computes_the_same(model, model, torch.rand(2, 3, 8, 8))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert not computes_the_same(model, Fails(), torch.rand(2, 3, 8, 8))
