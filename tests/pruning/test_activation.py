from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amc_hw.pruning.activation import Activation
from amc_hw.pruning.pruner import Pruner
from amc_hw.trace.groups import trace


def seen(activation: Activation, results: Tensor) -> Tensor:
    return (activation.scale * results + activation.shift).clamp(*activation.limits)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), limits=st.sampled_from([(0.0, math.inf), (0.0, 6.0)]))
def test_the_activation_takes_the_nearest_results_for_the_wanted_ones(seed: int, limits: tuple[float, float]) -> None:
    draw = torch.Generator().manual_seed(seed)
    ours, wanted, shift = (5 * torch.randn(20, 3, generator=draw).double() for _ in range(3))
    activation = Activation(torch.tensor([2.0, -0.5, 1.0]).double(), shift, limits)
    nearest = activation.nearest(ours, wanted)
    torch.testing.assert_close(seen(activation, nearest), seen(activation, wanted))
    assert ((nearest - ours).abs() <= (wanted - ours).abs() + 1e-9).all()


def test_what_the_norm_hardly_passes_on_is_fitted_as_it_is() -> None:
    activation = Activation(torch.tensor([1.0, torch.inf]), torch.tensor([0.0, -torch.inf]), (0.0, math.inf))
    nearest = activation.nearest(torch.tensor([[-2.0, -2.0]]), torch.tensor([[-1.0, -1.0]]))
    assert nearest.tolist() == [[-2.0, -1.0]]


def chain() -> nn.Sequential:
    first, second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(24, 4, 1))


@pytest.mark.parametrize("thorough", [False, True])
def test_a_fit_that_knows_the_activation_comes_nearer_to_what_it_gives(
    monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    torch.manual_seed(0)
    model, images = chain().eval(), torch.randn(64, 3, 12, 12)
    network = trace(model, images[:1])
    policy = {group: count // 2 if group == "0" else count for group, count in network.original.items()}

    def error() -> float:
        small = Pruner(model, network, images).pruned(policy, thorough=thorough)
        with torch.no_grad():
            return float((small[:4](images) - model[:4](images)).square().mean())

    knowing = error()
    monkeypatch.setattr(Activation, "nearest", lambda self, given, wanted: wanted)
    assert knowing < 0.995 * error()
