"""A runtime that does operators within the kernels of others leaves none of them without a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_nets import Transformer
from writers import available

from amc_hw.devices.registry import open_device
from amc_hw.formats.template import lower
from amc_hw.profiling.measure import entries_of
from amc_hw.tracing.traced import trace_model


def test_every_operator_of_a_transformer_has_a_time_on_onnx_runtime(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    traced = trace_model(Transformer(), (3, 16, 16))
    template = lower(traced.model, traced.network, traced.example, available("onnx"))
    policy, file = {"patches": 16, "qkv": 3}, tmp_path / "transformer.onnx"
    file.write_bytes(template.file(policy, np.random.default_rng(0)))
    with open_device("onnx") as device:
        kernels = device.time_kernels(file, warmup=1, runs=3)
    entries, operators = entries_of(template, policy, kernels), template.operators(policy)
    assert {entry.family for entry in entries} == {operator.family for operator in operators}
    products = {(each.c_in, each.c_out): each.mean_us for each in entries if each.family.startswith("FULLY_CONNECTED")}
    assert set(products) == {(16, 3 * 3 * 6), (3 * 6, 16), (16, 7)}
    assert all(time > 0 for time in products.values())
    assert sum(each.mean_us * each.count for each in entries) > 0
