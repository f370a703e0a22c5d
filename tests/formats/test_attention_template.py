"""Networks with norms and attention are written for other channels as they are converted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import Transformer
from writers import available

from amc_hw.formats.template import lower
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import trace_model


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte", "aten"])
def test_a_transformer_is_written_for_other_channels_as_it_is_converted(file_format: str) -> None:
    kind = available(file_format)
    torch.manual_seed(0)
    traced = trace_model(Transformer(), (3, 16, 16))
    assert traced.network.original == {"patches": 24, "qkv": 5}
    template = lower(traced.model, traced.network, traced.example, kind)
    for seed in range(2):
        policy = draw_policy(traced.choices, np.random.default_rng(seed))
        small = shrink(traced.model, traced.network, first_channels(policy))
        exported = kind.read(kind.convert(small, traced.example)).operators()
        assert template.operators(policy) == exported
        assert kind.read(template.file(policy, np.random.default_rng(0))).operators() == exported
