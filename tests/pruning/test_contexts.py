from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.pruning.contexts import LayerContext, OperatorCounter, find_contexts


class Block(nn.Module):
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.stem = nn.Conv2d(3, 4, 1)
        self.conv1 = nn.Conv2d(4, 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x), inplace=self.inplace)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=self.inplace)))
        if self.inplace:
            y += x
        else:
            y = x + y
        return y


class Downsampled(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        one = self.bn1(self.conv1(x))
        return one + self.bn2(self.conv2(x))


def test_the_norm_and_the_other_side_of_the_sum_are_found() -> None:
    for inplace in (False, True):
        contexts = find_contexts(Block(inplace).eval(), torch.zeros(1, 3, 5, 5))
        assert contexts["stem"] == LayerContext(linear_range=(0.0, math.inf))
        assert contexts["conv1"] == LayerContext("bn1", None, (0.0, math.inf))
        assert contexts["conv2"].norm == "bn2"
        assert contexts["conv2"].partner is not None


def test_the_other_side_may_be_a_pooled_map() -> None:
    class Pooled(Block):
        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(self.stem(x), 2)
            return x + self.conv1(x)

    model, x = Pooled(False).eval(), torch.randn(1, 3, 6, 6)
    partner = find_contexts(model, x)["conv1"].partner
    assert partner is not None
    with torch.no_grad(), OperatorCounter(frozenset({partner})) as counter:
        model(x)
        torch.testing.assert_close(counter.results[partner], F.max_pool2d(model.stem(x), 2))


def test_of_two_layers_in_a_sum_the_later_one_corrects() -> None:
    contexts = find_contexts(Downsampled(False).eval(), torch.zeros(1, 3, 5, 5))
    assert contexts["conv1"].partner is None
    assert contexts["conv2"].partner is not None


def test_the_counter_keeps_the_partner_of_a_narrower_network() -> None:
    model = Block(True).eval()
    partner = find_contexts(model, torch.zeros(1, 3, 5, 5))["conv2"].partner
    assert partner is not None
    model.conv1 = nn.Conv2d(4, 2, 1, bias=False)
    model.bn1 = nn.BatchNorm2d(2).eval()
    model.conv2 = nn.Conv2d(2, 4, 1, bias=False)
    x = torch.randn(1, 3, 5, 5)
    with torch.no_grad(), OperatorCounter(frozenset({partner})) as counter:
        model(x)
    torch.testing.assert_close(counter.results[partner], F.relu(model.stem(x)))


def test_a_norm_that_serves_two_layers_takes_no_bias() -> None:
    class Twice(Block):
        def forward(self, x: Tensor) -> Tensor:
            return self.bn1(self.conv2(self.bn1(self.conv1(self.stem(x)))))

    contexts = find_contexts(Twice(False).eval(), torch.zeros(1, 3, 5, 5))
    assert contexts["conv1"].norm is None
    assert contexts["conv2"].norm is None


class Activated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 3, 1)
        self.conv3 = nn.Conv2d(3, 3, 1)
        self.conv4 = nn.Conv2d(3, 3, 1)
        self.conv5 = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu6(self.norm(self.conv1(x)))
        x = F.relu(x + self.conv2(x))
        y = self.conv3(x)
        z = self.conv4(F.relu(y))
        return F.hardtanh(torch.cat([y, z], 1)), F.hardtanh(self.conv5(x))  # of y, negative values count, too


def test_the_activation_is_found_behind_norm_and_sum_where_nothing_else_reads_what_it_takes() -> None:
    contexts = find_contexts(Activated().eval(), torch.zeros(1, 3, 5, 5))
    assert contexts["conv1"].linear_range == (0.0, 6.0)
    assert contexts["conv2"].linear_range == (0.0, math.inf)
    assert contexts["conv3"].linear_range is None
    assert contexts["conv4"].linear_range is None
    assert contexts["conv5"].linear_range == (-1.0, 1.0)


class PreActivated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(3)
        self.conv1 = nn.Conv2d(3, 3, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        y = self.norm2(self.conv1(F.relu(self.norm1(x))))
        return x + self.conv2(F.relu(y)), y


def test_what_a_sum_or_the_caller_reads_is_not_the_norms_or_the_activations_alone() -> None:
    contexts = find_contexts(PreActivated().eval(), torch.zeros(1, 3, 5, 5))
    assert contexts["stem"] == LayerContext()
    assert contexts["conv1"] == LayerContext("norm2")
    assert contexts["conv2"].partner is not None


def test_a_network_that_is_one_layer_with_an_activation_has_no_formula_of_its_own() -> None:
    class Activating(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(super().forward(x))

    assert find_contexts(Activating(3, 4, 1).eval(), torch.zeros(1, 3, 5, 5)) == {
        "": LayerContext(linear_range=(0.0, math.inf), is_formula=False)
    }
