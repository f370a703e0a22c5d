from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from amc_hw.pruning.activation import Activation
from amc_hw.pruning.pruner import Pruner
from amc_hw.tracing.groups import trace


def seen(activation: Activation, results: Tensor) -> Tensor:
    return (activation.scale * results + activation.shift).clamp(*activation.linear_range)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), linear=st.sampled_from([(0.0, math.inf), (0.0, 6.0)]))
def test_the_activation_takes_the_nearest_results_for_the_wanted_ones(seed: int, linear: tuple[float, float]) -> None:
    draw = torch.Generator().manual_seed(seed)
    ours, wanted, shift = (5 * torch.randn(20, 3, generator=draw).double() for _ in range(3))
    activation = Activation(torch.tensor([2.0, -0.5, 1.0]).double(), shift, linear)
    nearest = activation.nearest(ours, wanted)
    torch.testing.assert_close(seen(activation, nearest), seen(activation, wanted))
    assert ((nearest - ours).abs() <= (wanted - ours).abs() + 1e-9).all()


def test_what_the_norm_hardly_passes_on_is_fitted_as_it_is() -> None:
    activation = Activation(torch.tensor([1.0, torch.inf]), torch.tensor([0.0, -torch.inf]), (0.0, math.inf))
    nearest = activation.nearest(torch.tensor([[-2.0, -2.0]]), torch.tensor([[-1.0, -1.0]]))
    assert nearest.tolist() == [[-2.0, -1.0]]


class Residual(nn.Module):
    """What is cut off is a sum, with a batch norm before it; a depthwise layer stands behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.conv1 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu6(self.depthwise(self.body(x))))

    def body(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


def residual(images: Tensor) -> Residual:
    torch.manual_seed(0)
    model = Residual()
    for norm in (model.norm1, model.norm2):
        norm.weight.data, norm.bias.data = 0.5 + torch.rand(16), torch.randn(16) - 1
    for _ in range(50):
        model(images)  # so that the norms know their inputs
    return model.eval()


@torch.no_grad()
def test_activations_are_known_through_norms_sums_and_depthwise_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    images, wholes = torch.randn(8, 3, 6, 6), []
    model = residual(images)
    network = trace(model, images[:1])
    pruner = Pruner(model, network, images, points=36)  # all positions
    policy = {group: count // 2 if group == "conv1" else count for group, count in network.original.items()}
    taken = Activation.nearest

    def nearest(self: Activation, given: Tensor, wanted: Tensor) -> Tensor:
        wholes.append(self.scale * wanted + self.shift)
        return taken(self, given, wanted)

    monkeypatch.setattr(Activation, "nearest", nearest)
    pruner.pruned(policy, thorough=True)
    x = F.relu(model.stem(images))
    added = x + model.norm2(model.conv2(F.relu(model.norm1(model.conv1(x)))))
    for seen, wanted in zip(wholes, [added, model.depthwise(F.relu(added))], strict=True):
        torch.testing.assert_close(seen, wanted.permute(0, 2, 3, 1).flatten(0, 2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("thorough", [False, True])
def test_a_fit_that_knows_the_activation_comes_nearer_to_what_it_gives(
    monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    images = torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    model = residual(images)
    network = trace(model, images[:1])
    policy = {group: count // 2 if group == "conv1" else count for group, count in network.original.items()}

    def error() -> float:
        small = Pruner(model, network, images).pruned(policy, thorough=thorough)
        with torch.no_grad():
            return float((small.body(images) - model.body(images)).square().mean())  # type: ignore[operator]

    knowing = error()
    monkeypatch.setattr(Activation, "nearest", lambda self, given, wanted: wanted)
    assert knowing < 0.999 * error()
