"""The tests convert a network once; what differs in anything that the converter sees is another network."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from converted_once import digest
from tiny import TinyNet
from torch import nn


def seen(model: nn.Module, *shape: int) -> str:
    return digest(torch.export.export(model.eval(), (torch.zeros(shape or (1, 1, 32, 32)),)))


@pytest.fixture(scope="module")
def model() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet()


def test_copies_are_one_network(model: TinyNet) -> None:
    assert seen(deepcopy(model)) == seen(model)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (1, 1, 28, 28)])
def test_other_inputs_are_another_network(model: TinyNet, shape: tuple[int, ...]) -> None:
    assert seen(model, *shape) != seen(model)


def test_any_weight_statistic_layer_or_argument_makes_another_network(model: TinyNet) -> None:
    others = [deepcopy(model) for _ in range(4)]
    others[0].conv1[0].weight.data[3, 0, 1, 1] += 1e-6
    others[1].conv2[1].running_var[5] += 1e-6
    others[2].conv1[2] = nn.ReLU6()
    others[3].conv3[0].dilation = others[3].conv3[0].padding = (2, 2)
    assert len({seen(other) for other in (model, *others)}) == 5
