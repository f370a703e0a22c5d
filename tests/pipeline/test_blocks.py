"""What an exported network loses with its residual blocks, in every format."""

from __future__ import annotations

import pytest
import torch
from torch import nn
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
    """Says that every operator takes a millisecond."""

    def __init__(self) -> None:
        """Need no table."""

    def operators_ms(self, operators) -> list[float]:
        return [1.0] * len(operators)

    def calibration(self, structure: str) -> Calibration:
        return Calibration()


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
        cost = latency_cost(template, OneMillisecond(), residual.choices)
        assert cost(policy) == pytest.approx(len(exported))
