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


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "_KNOWN", {})


class Counts:
    """A converter whose files are their numbers."""

    done = 0

    def __call__(self, model: nn.Module, example: Any) -> bytes:
        self.done += 1
        return b"%d" % self.done


class Scaled(nn.Module):
    """Has a number that is no weight and that its text does not show."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.by


def test_only_other_channels_weights_shapes_and_formats_are_converted() -> None:
    kind = replace(FORMATS["tflite"], convert=Counts())
    traced = trace_model(TinyNet(), (1, 32, 32))
    example, once = traced.example, converted_once(kind)
    assert once.convert(traced.model, example) == once.convert(traced.model, example + 1) == b"1"
    assert converted_once(kind).convert(copy.deepcopy(traced.model), example) == b"1"
    smaller = shrink(traced.model, traced.network, first_channels(dict.fromkeys(traced.network.original, 8)))
    assert once.convert(smaller, example) == once.convert(copy.deepcopy(smaller), example) == b"2"
    nn.init.ones_(next(smaller.parameters()))
    assert once.convert(smaller, example) == b"3"
    assert once.convert(traced.model, example.expand(2, -1, -1, -1)) == b"4"
    assert converted_once(replace(kind, name="onnx")).convert(traced.model, example) == b"5"


def test_what_computes_something_else_is_converted() -> None:
    once, example = converted_once(replace(FORMATS["tflite"], convert=Counts())), torch.zeros(1, 3, 4, 4)
    assert once.convert(Scaled(2.0), example) == once.convert(Scaled(2.0), example) == b"1"
    assert once.convert(Scaled(3.0), example) == b"2"


def test_the_oldest_go_where_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "MOST_BYTES", 2)
    once, example = converted_once(replace(FORMATS["tflite"], convert=Counts())), torch.zeros(1, 3, 4, 4)
    assert [once.convert(Scaled(by), example) for by in (1.0, 2.0, 3.0, 2.0, 1.0)] == [b"1", b"2", b"3", b"2", b"4"]


def test_what_does_not_run_is_left_to_the_converter() -> None:
    once = converted_once(replace(FORMATS["tflite"], convert=Counts()))
    assert [once.convert(nn.Linear(3, 3), torch.zeros(1, 5)) for _ in range(2)] == [b"1", b"2"]
