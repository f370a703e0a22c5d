"""What is compressed must belong together."""

from __future__ import annotations

import pytest
import torch
from tiny import TinyNet
from torch import Tensor, nn

from amc_hw.data.dataset import load_data
from amc_hw.errors import UsageError
from amc_hw.pipeline.trained import make_trained_model


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = TinyNet()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(x), x


@pytest.mark.parametrize(
    ("model", "says"),
    [(TinyNet(num_classes=7), r"shape \(7,\) for an image, and digits has 10 classes"), (Twice(), "gives a tuple")],
)
def test_a_network_without_a_score_for_each_class_is_refused(model: nn.Module, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_trained_model(model, load_data("digits"))


def test_the_right_one_is_taken() -> None:
    torch.manual_seed(0)
    assert make_trained_model(TinyNet(), load_data("digits")).network.groups
