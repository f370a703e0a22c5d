"""What an exported network loses with its residual blocks, in every format."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from writers import available

from amc_hw.formats.template import lower
from amc_hw.latency.prediction import Calibration, Predictor
from amc_hw.models.resnet import BasicBlock
from amc_hw.profiling.latency_cost import latency_cost
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import TracedModel, trace_model


@pytest.fixture(scope="module")
def residual() -> TracedModel:
    """Two kinds of blocks: with an activation behind the sum, and without."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU()),
        BasicBlock(16, 16, 1, residual=True),
        BasicBlock(16, 16, 1, residual=True),
        nn.Conv2d(16, 24, 3, 2, 1),
        InvertedResidual(24, 24, 1, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    return trace_model(model, (3, 32, 32))


class OneMillisecond(Predictor):
    """Says that every operator takes a millisecond, and a network a constant more or less than all of its own."""

    def __init__(self, constant_ms: float) -> None:
        """Need no table."""
        self._constant_ms = constant_ms

    def operators_ms(self, operators) -> list[float]:
        return [1.0] * len(operators)

    def calibration(self, structure: str) -> Calibration:
        return Calibration(constant_ms=self._constant_ms)


class TwoSums(nn.Module):
    """A block of two sums; only behind the second are channels that can be removed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.expand = nn.Conv2d(width, 24, 1)
        self.project = nn.Conv2d(24, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x + self.first(x))
        return torch.relu(x + self.project(torch.relu(self.expand(x))))


class Transformer(nn.Module):
    """Attention and an MLP in one block; the heads' width is written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.expand, self.project = nn.Linear(16, 40), nn.Linear(40, 16)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).view(len(x), -1, 3, 2, 8).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + self.out(attended)
        return x + self.project(nn.functional.gelu(self.expand(self.norm2(x))))


@pytest.fixture(scope="module")
def with_two_sums() -> TracedModel:
    """Two blocks of two sums each, of maps, and two of tokens."""
    torch.manual_seed(0)
    maps = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), TwoSums(12), TwoSums(12), nn.Conv2d(12, 16, 1))
    tokens = nn.Sequential(Transformer(), Transformer())
    return trace_model(
        nn.Sequential(maps, nn.Flatten(2), Transposed(), tokens, nn.Flatten(), nn.Linear(1024, 5)), (3, 16, 16)
    )


class Transposed(nn.Module):
    """Channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte", "aten"])
def test_a_block_of_two_sums_goes_whole(with_two_sums: TracedModel, file_format: str) -> None:
    kind = available(file_format)
    traced = with_two_sums
    template = lower(traced.model, traced.network, traced.example, kind)
    blocks = traced.network.blocks
    assert [len(block.inside) for block in blocks] == [1, 1, 1, 1]
    for out in (blocks[:1], blocks[1::2]):
        policy = dict(traced.network.original) | {block.group: 0 for block in out}
        small = shrink(traced.model, traced.network, first_channels(policy))
        assert template.operators(policy) == kind.read(kind.convert(small, traced.example)).operators()


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte", "aten"])
def test_the_template_knows_which_operators_are_left(residual: TracedModel, file_format: str) -> None:
    kind = available(file_format)
    template = lower(residual.model, residual.network, residual.example, kind)
    blocks = residual.network.blocks
    assert len(blocks) == 3
    for out in (blocks[:1], blocks[1:]):
        policy = dict(residual.network.original) | {block.group: 0 for block in out}
        small = shrink(residual.model, residual.network, first_channels(policy))
        exported = kind.read(kind.convert(small, residual.example)).operators()
        assert template.operators(policy) == exported
        cost = latency_cost(template, OneMillisecond(2.0), residual.choices)
        assert cost(policy) == pytest.approx(len(exported) + 2.0)
        whole = len(template.operators(residual.network.original))
        cost = latency_cost(template, OneMillisecond(-0.25 * whole), residual.choices)
        assert cost(policy) == pytest.approx(0.75 * len(exported)), "the profiler takes no time in what is left out"
