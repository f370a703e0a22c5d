"""Folding is for speed only: whatever the network does, its folded copy computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.tracing.same import relative_difference

IMAGES = torch.zeros(2, 3, 12, 12)


def conv_bn(c_in: int, c_out: int, conv: Any = nn.Conv2d, norm: Any = nn.BatchNorm2d) -> nn.Sequential:
    return nn.Sequential(conv(c_in, c_out, 3, padding=1, bias=False), norm(c_out), nn.ReLU())


class Net(nn.Module):
    """Two convolutions with norms, between which subclasses do what makes folding hard, and a linear layer."""

    def __init__(self, conv: Any = nn.Conv2d, norm: Any = nn.BatchNorm2d) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.block = conv_bn(8, 8, conv, norm)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def between(self, x: Tensor) -> Tensor:
        return self.norm(self.block(x))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.between(self.stem(x)).mean((2, 3)))


class Recurrent(Net):
    def between(self, x: Tensor) -> Tensor:
        return self.block(self.block(x))


class SharedHead(Net):
    def between(self, x: Tensor) -> Tensor:
        conv, norm, _ = self.block
        return F.relu(norm(conv(x))) + F.relu(self.norm(conv(F.max_pool2d(x, 3, 1, 1))))


class ReadTwice(Net):
    def between(self, x: Tensor) -> Tensor:
        y = self.block[0](x)
        return self.block[1](y) + y.tanh()


class BranchOnTensor(Net):
    def between(self, x: Tensor) -> Tensor:
        return self.norm(self.block(x)) if isinstance(x, Tensor) else x


class ControlFlow(Net):
    def between(self, x: Tensor) -> Tensor:
        return self.block(x) if x.mean() > -100 else x


class WeightReadElsewhere(Net):
    def between(self, x: Tensor) -> Tensor:
        return self.block(x) + F.conv2d(x, self.block[0].weight, padding=1)


class NormUnderTwoNames(Net):
    def __init__(self) -> None:
        super().__init__()
        self.alias = self.block[1]

    def between(self, x: Tensor) -> Tensor:
        return F.relu(self.alias(self.block[0](x)))


class Structure(Net):
    def forward(self, x: Tensor) -> Any:
        y = self.between(self.stem(x))
        return {"scores": self.head(y.mean((2, 3))), "maps": [y, 3, None]}


class NoNumber(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) / 0 * 0


class StandardisedConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class PaddedConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, [0, 2, 0, 2]), self.weight, self.bias)


class NormWithActivation(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(super().forward(input))


class OverRows(nn.Module):
    """The norm behind this linear layer is over its rows, not its features."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(12, 12), nn.BatchNorm1d(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x.mean(1)))


class Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(432, 12), nn.BatchNorm1d(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(input=self.layer(input=x.flatten(1)))


def shaken(model: nn.Module) -> nn.Module:
    """Give norms statistics and factors that are not those of the identity."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.uniform_(-1, 1)
    return model.eval()


def norms_in(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (Net, 1),
        (Recurrent, 2),
        (SharedHead, 2),
        (ReadTwice, 2),
        (BranchOnTensor, 1),
        (ControlFlow, 1),
        (WeightReadElsewhere, 2),
        (NormUnderTwoNames, 1),
        (Structure, 1),
        (lambda: Net(StandardisedConv), 2),
        (lambda: Net(PaddedConv), 1),
        (lambda: Net(norm=NormWithActivation), 2),
        (OverRows, 1),
        (Features, 0),
    ],
)
def test_the_folded_network_computes_the_same(make: Any, left: int) -> None:
    model = shaken(make())
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    small = fold_batch_norms(model, IMAGES)
    x = torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        assert relative_difference(model(x), small(x)) < 1e-5
    assert norms_in(small) == left
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_what_cannot_be_compared_is_not_folded() -> None:
    assert norms_in(fold_batch_norms(shaken(NoNumber()), IMAGES)) == 3


def test_the_folded_network_is_in_evaluation_mode_and_takes_no_gradients() -> None:
    model = shaken(Net()).train()
    small = fold_batch_norms(model, IMAGES)
    assert model.training
    assert not any(module.training for module in small.modules())
    assert not any(parameter.requires_grad for parameter in small.parameters())
