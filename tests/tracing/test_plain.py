"""Networks whose layers compute their weights get plain ones; where they would compute something else, they stay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cut_check import check_cuts
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from amc_hw.tracing.plain import with_plain_weights

EXAMPLE = torch.zeros(1, 3, 9, 9)


class Standardised(nn.Conv2d):
    """Standardises its filters, with a gain (NF-ResNet's), and pads as TensorFlow does, if it has a stride."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        weight = weight * self.gain / math.sqrt(weight[0].numel())
        if self.stride[0] > 1:
            x = F.pad(x, (0, 1, 0, 1))
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class WeightsFromInput(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * x.mean(), self.bias, self.stride, self.padding)


def chain(second: nn.Module) -> nn.Sequential:
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), second, *head)


class Branches(nn.Module):
    """RepVGG's block: merges into one convolution where it is asked to."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.wide: Any = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.narrow: Any = nn.Conv2d(c_in, c_out, 1)
        self.merged: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.merged is not None:
            return self.merged(x)  # type: ignore[no-any-return]
        return self.wide(x) + self.narrow(x)  # type: ignore[no-any-return]

    def switch_to_deploy(self) -> None:
        wide, narrow = self.wide, self.narrow
        self.merged = nn.Conv2d(wide.in_channels, wide.out_channels, 3, padding=1)
        self.merged.weight.data = wide.weight.detach() + F.pad(narrow.weight.detach(), (1, 1, 1, 1))
        self.merged.bias.data = wide.bias.detach() + narrow.bias.detach()
        self.wide = self.narrow = None


class Wrong(Branches):
    def switch_to_deploy(self) -> None:
        super().switch_to_deploy()
        self.merged.weight.data *= 2


class Folds(nn.Sequential):
    def fuse(self) -> None:
        """Does what loses the norms for training, and merges nothing."""
        self[0].weight.data.mul_(1.0)


KINDS = {
    "standardised": lambda: Standardised(8, 12, 3, padding=1),
    "padded": lambda: Standardised(8, 12, 3, stride=2),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Conv2d(8, 12, 3)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Conv2d(8, 12, 3)),
    "old_weight_norm": lambda: weight_norm(nn.Conv2d(8, 12, 3)),
    "old_spectral_norm": lambda: spectral_norm(nn.Conv2d(8, 12, 3)),
    "branches": lambda: Branches(8, 12),
}


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_layers_that_compute_their_weights_become_plain_and_are_cut(kind: str, learns: bool) -> None:
    torch.manual_seed(0)
    model = chain(KINDS[kind]()).eval()
    x = torch.randn(2, 3, 9, 9)
    wanted, state = model(x).detach(), set(model.state_dict())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with torch.set_grad_enabled(learns):
        plain, note = with_plain_weights(model, EXAMPLE)
    assert torch.equal(torch.get_rng_state(), before)
    assert note.count("1 ") == 1
    assert note.endswith("computes the same as before.")
    torch.testing.assert_close(plain(x), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x), wanted)
    assert set(model.state_dict()) == state
    assert set(plain.state_dict()) != state  # so that a checkpoint tells which weights it holds
    assert all(parameter.requires_grad for parameter in plain.parameters())
    network = check_cuts(plain, x)
    assert sorted(network.original.values()) == [8, 12]
    again, nothing = with_plain_weights(plain, EXAMPLE)
    assert again is plain
    assert not nothing


@pytest.mark.parametrize("second", [WeightsFromInput(8, 12, 3), Wrong(8, 12), Folds(nn.Conv2d(8, 12, 3))])
def test_what_would_compute_something_else_or_merges_nothing_stays(second: nn.Module) -> None:
    model = chain(second)
    plain, note = with_plain_weights(model, EXAMPLE)
    assert plain is model
    assert not note


class HeadsForTraining(nn.Module):
    """Gives what two heads say while it learns, and what one says afterwards, which is all that a fused one has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Branches(3, 8)
        self.one: Any = nn.Conv2d(8, 4, 1)
        self.many: Any = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        if not self.training:
            return self.one(x)
        return {"one": self.one(x), "many": None if self.many is None else self.many(x)}

    def fuse(self) -> None:
        self.many = None


def test_a_head_that_only_learns_is_not_lost_when_branches_are_merged() -> None:
    model = HeadsForTraining()
    plain, note = with_plain_weights(model, EXAMPLE)
    assert note.startswith("the network's own switch_to_deploy() merged branches in 1 of its modules")
    assert "fuse()" not in note
    assert plain.train()(torch.randn(2, 3, 9, 9))["many"].shape == (2, 4, 9, 9)
