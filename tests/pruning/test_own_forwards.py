"""Layers are fitted for what their forward computes, whatever class they are of."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.pruning.contexts import LayerContext, find_contexts
from amc_hw.pruning.formulas import Formulas, computed_from_own_weights
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.taylor import taylor_importance
from amc_hw.tracing.groups import trace


class PaddedRight(nn.Conv2d):
    """Pads on one side only, as TensorFlow does where a stride of 2 leaves one row over."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, [0, 1, 0, 1]), self.weight, self.bias, self.stride)


class Shifted(nn.Linear):
    """Computes with another input than it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * 2, self.weight, self.bias)


class Gained(nn.Conv2d):
    """Computes with other weights than it holds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gain = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, self.stride, self.padding)


class Rounded(nn.Conv2d):
    """Rounds the weights of each filter to 4 bits."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().amax((1, 2, 3), keepdim=True) / 7
        return F.conv2d(x, (self.weight / scale).round() * scale, self.bias, self.stride, self.padding)


class Standardised(nn.Conv2d):
    """Standardises the weights of each filter."""

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), self.bias, self.stride, self.padding)


class Activated(nn.Conv2d):
    """Gives something else than its product."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(super().forward(x))


class WithoutBias(nn.Conv2d):
    """Has a bias that it does not use."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding)


def distance(model: nn.Module, small: nn.Module, images: Tensor) -> float:
    """Return the mean square of the difference, a share of the variance."""
    with torch.no_grad():
        return float((model(images) - small(images)).square().mean() / model(images).var())


def redundant(reader: nn.Module, *behind: nn.Module) -> nn.Module:
    """Return a network in which a channel of the first layer repeats another, twice as large."""
    torch.manual_seed(0)
    first = nn.Conv2d(2, 6, 3)
    for tensor in (first.weight, first.bias):
        tensor.data[3] = 2 * tensor.data[1]
    return nn.Sequential(first, nn.ReLU(), *([nn.Flatten()] if isinstance(reader, nn.Linear) else []), reader, *behind)


@pytest.mark.parametrize("name", ["original", "sequential", "residual"])
@pytest.mark.parametrize(
    "make", [lambda: PaddedRight(6, 5, 3, stride=2), lambda: PaddedRight(6, 5, 2), lambda: Shifted(6 * 36, 5)]
)
def test_a_layer_is_fitted_to_what_it_computes_from(make: Any, name: Any) -> None:
    model = redundant(make()).eval()
    images = torch.randn(512 if isinstance(model[-1], nn.Linear) else 64, 2, 8, 8)
    network = trace(model, images[:1])
    pruner = Pruner(model, network, images, reconstruction=name, points=100)
    assert not pruner.not_reconstructed
    assert distance(model, pruner.pruned({"0": 5}), images) < 1e-5


@pytest.mark.parametrize("kind", [Gained, Rounded, Standardised, Activated, WithoutBias])
def test_layers_that_give_something_else_than_their_weights_make_are_not_fitted(kind: Any) -> None:
    model = redundant(kind(6, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3)).eval()
    images = torch.randn(64, 2, 8, 8)
    pruner = Pruner(model, trace(model, images[:1]), images)
    assert list(pruner.not_reconstructed) == ["2"]
    assert "its forward gives something else" in pruner.not_reconstructed["2"]


class Tied(nn.Module):
    """An autoencoder whose last convolution, a transposed one, has the weights of its second."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.code, self.bottleneck = (
            nn.Conv2d(3, 6, 1),
            nn.Conv2d(6, 8, 4, 4, bias=False),
            nn.Conv2d(8, 8, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(self.bottleneck(self.code(self.first(x).relu())).relu(), self.code.weight, stride=4)


def test_a_layer_whose_weights_a_function_computes_with_too_is_not_fitted() -> None:
    torch.manual_seed(0)
    model, images = Tied().eval(), torch.randn(32, 3, 16, 16)
    network = trace(model, images[:1])
    pruner = Pruner(model, network, images)
    assert "code" in pruner.not_reconstructed
    policy = {group: channels // 2 for group, channels in network.original.items()}
    assert torch.isfinite(pruner.pruned(policy)(images)).all()


@pytest.mark.parametrize("kind", [Gained, Rounded, Standardised, PaddedRight])
@pytest.mark.parametrize("thorough", [False, True])
def test_fitting_is_not_worse_than_not_fitting(kind: Any, thorough: bool) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for c_in, c_out in ((2, 16), (16, 16), (16, 16), (16, 16)):
        layers += [kind(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 5))
    images = torch.randn(256, 2, 8, 8)
    for _ in range(50):
        model(images)  # the norms learn what they see
    model.eval()
    network = trace(model, images[:1])
    policy = {name: count // 2 for name, count in network.original.items()}
    assert policy or kind is Standardised
    unseen = torch.randn(256, 2, 8, 8)
    fitted, sliced = (
        distance(model, Pruner(model, network, images, reconstruction=name).pruned(policy, thorough=thorough), unseen)
        for name in ("residual", "none")  # type: ignore[arg-type]
    )
    assert fitted <= sliced


def test_a_norm_with_an_activation_of_its_own_is_no_part_of_the_sum_behind_it() -> None:
    class NormWithActivation(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return F.relu(super().forward(input))

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), NormWithActivation(3)
            self.last = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = x.tanh()
            return self.last(x + self.norm(self.conv(x)))

    contexts = find_contexts(Sum().eval(), torch.zeros(1, 3, 5, 5))
    assert contexts["conv"] == LayerContext("norm", None, (0.0, math.inf))


def test_a_norm_over_the_rows_of_a_linear_layer_is_not_its_norm() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)).eval()
    assert find_contexts(model, torch.zeros(2, 6, 4))["0"].norm is None
    assert find_contexts(model, torch.zeros(2, 4))["0"].norm == "1"


def test_layers_called_by_keyword_are_seen_and_those_called_twice_are_not_taken_for_one() -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.linear = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(input=self.conv(input=x)).mean((2, 3))
            return self.linear(input=self.linear(input=x))

    contexts = find_contexts(Keywords().eval(), torch.zeros(2, 3, 5, 5))
    assert contexts["conv"] == LayerContext("norm")
    assert not contexts["linear"].is_formula


def test_the_taylor_importance_looks_at_weights_and_biases_only() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        Gained(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()
    images = torch.randn(8, 2, 8, 8)
    found = taylor_importance(model, trace(model, images[:1]).groups, images)
    assert {name: len(scores) for name, scores in found.items()} == {"0": 6, "2": 4}


def test_what_the_callbacks_compute_is_not_seen() -> None:
    layer, seen = nn.Linear(3, 3), []

    def again(name: str, output: Tensor) -> None:
        seen.append(name)
        layer(output)

    with Formulas({"layer": layer}, after=again):
        layer(torch.zeros(1, 3))
    assert seen == ["layer"]


def test_zeros_stay_zero_only_in_weights_that_are_multiplied_as_they_are() -> None:
    model = redundant(PaddedRight(6, 4, 3), Gained(4, 4, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)))
    assert computed_from_own_weights(model.eval(), torch.zeros(1, 2, 8, 8)) == {"0", "2"}
