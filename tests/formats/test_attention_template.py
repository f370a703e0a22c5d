"""Networks with norms and attention are written for other channels as they are converted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import Transformer

from amc_hw.formats.registry import find_format
from amc_hw.formats.template import lower
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import trace_model

pytest.importorskip("litert_torch")
from amc_hw.formats.tflite.convert import to_tflite
from amc_hw.formats.tflite.graph import TfliteGraph


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
