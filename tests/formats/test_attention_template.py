"""Networks with norms and attention are written for other channels as they are converted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from amc_hw.formats.registry import find_format
from amc_hw.formats.template import lower
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import trace_model

pytest.importorskip("litert_torch")
from amc_hw.formats.tflite.convert import to_tflite
from amc_hw.formats.tflite.graph import TfliteGraph


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.patches, self.table = 5, nn.Conv2d(3, 24, 4, 4), nn.Parameter(torch.randn(1, 16, 24))
        self.norm, self.qkv, self.proj = nn.LayerNorm(24), nn.Linear(24, 3 * 5 * 6), nn.Linear(30, 24)
        self.head = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.table
        b, n, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, self.num_heads, 6).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * 0.4) @ k.transpose(-1, -2)
        x = x + self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return self.head(x.mean(1))


def test_a_transformer_is_written_for_other_channels_as_it_is_converted() -> None:
    torch.manual_seed(0)
    traced = trace_model(Transformer(), (3, 16, 16))
    assert traced.network.original == {"patches": 24, "qkv": 5}
    template = lower(traced.model, traced.network, traced.example, find_format("tflite"))
    for seed in range(2):
        policy = draw_policy(traced.choices, np.random.default_rng(seed))
        small = shrink(traced.model, traced.network, first_channels(policy))
        exported = TfliteGraph(to_tflite(small, traced.example)).operators()
        assert template.operators(policy) == exported
        assert TfliteGraph(template.file(policy, np.random.default_rng(0))).operators() == exported
