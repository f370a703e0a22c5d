"""Grouped convolutions are trained in float32 among others in bfloat16, and compute the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from amc_hw.training import number_format
from amc_hw.training.number_format import fast_training

CPU = torch.device("cpu")


class Formats(nn.Module):
    """A convolution of each kind; `seen` are the formats of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.grouped = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.seen: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.whole, self.grouped, self.whole):
            x = layer(x)
            self.seen.append(x.dtype)
        return x


def formats(model: Formats, x: Tensor) -> list[torch.dtype]:
    model.seen.clear()
    with fast_training(CPU):
        model(x)
    return model.seen


def test_only_grouped_convolutions_learn_in_float32_where_bfloat16_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Formats(), torch.randn(2, 4, 8, 8)

    monkeypatch.setattr(number_format, "fast_in_bfloat16", lambda device: True)
    assert formats(model, x) == [torch.bfloat16, torch.float32, torch.bfloat16]
    with torch.no_grad():
        assert formats(model, x) == [torch.bfloat16] * 3, "nothing learns, so its gradient is not needed"
    monkeypatch.setattr(number_format, "fast_in_bfloat16", lambda device: False)
    assert formats(model, x) == [torch.float32] * 3


def test_the_gradient_is_that_of_float32_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = Formats(), torch.randn(2, 4, 8, 8)
    gradients = []
    for fast in (True, False):
        monkeypatch.setattr(number_format, "fast_in_bfloat16", lambda device, fast=fast: fast)
        with fast_training(CPU):
            loss = model(x).float().square().mean()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))

    for rounded, exact in zip(*gradients, strict=True):
        assert torch.allclose(rounded, exact, rtol=0.05, atol=0.02 * float(exact.abs().max()))
