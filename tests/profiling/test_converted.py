"""Each version of a network is converted once in a process, and another version is never taken for it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import TinyNet
from torch import nn

from amc_hw.formats.registry import FORMATS
from amc_hw.profiling import converted
from amc_hw.profiling.converted import converted_once
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import trace_model


def test_only_other_channels_weights_shapes_and_networks_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[nn.Module] = []

    def convert(model: nn.Module, example: Any) -> bytes:
        done.append(model)
        return b"%d" % len(done)

    kind = replace(FORMATS["tflite"], convert=convert)
    traced = trace_model(TinyNet(), (1, 32, 32))
    example, once = traced.example, converted_once(kind, traced)
    assert once.convert(traced.model, example) == once.convert(traced.model, example + 1) == b"1"
    assert converted_once(kind, traced).convert(copy.deepcopy(traced.model), example) == b"1"
    smaller = shrink(traced.model, traced.network, first_channels(dict.fromkeys(traced.network.original, 8)))
    assert once.convert(smaller, example) == once.convert(copy.deepcopy(smaller), example) == b"2"
    torch.nn.init.ones_(next(smaller.parameters()))
    assert once.convert(smaller, example) == b"3"
    assert once.convert(traced.model, example.expand(2, -1, -1, -1)) == b"4"
    assert converted_once(replace(kind, name="onnx"), traced).convert(traced.model, example) == b"5"
    other = replace(traced, model=copy.deepcopy(traced.model))
    assert converted_once(kind, other).convert(other.model, example) == b"6"
    monkeypatch.setattr(converted, "MOST_KEPT", 1)
    torch.nn.init.zeros_(next(smaller.parameters()))
    assert once.convert(smaller, example) == b"7"
    assert once.convert(traced.model, example) == b"8"
