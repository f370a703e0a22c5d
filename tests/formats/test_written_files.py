"""A file that is written for any channel counts has the shapes and constants of a real conversion, and is valid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import CalledTwice, ChunksAndNeck, NarrowSqueezes, WideGroups
from torch import nn
from writers import available

from amc_hw.formats.registry import Format
from amc_hw.formats.template import lower
from amc_hw.formats.tflite.convert import TfliteModel
from amc_hw.policy import Policy
from amc_hw.profiling.plan import corner_policies, draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import TracedModel, trace_model


def traced_for(model: nn.Module) -> TracedModel:
    return trace_model(model, (3, 32, 32))


def converted(trained: TracedModel, policy: Policy, kind: Format) -> bytes:
    small = shrink(trained.model, trained.network, first_channels(policy))
    return kind.convert(small, trained.example)


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte", "aten"])
@pytest.mark.parametrize("network", [ChunksAndNeck, NarrowSqueezes, WideGroups])
def test_a_written_file_has_the_sizes_of_the_converted_one_and_runs(network: type[nn.Module], file_format: str) -> None:
    kind = available(file_format)
    torch.manual_seed(0)
    trained = traced_for(network())  # untrained: all biases are equal zeros
    template = lower(trained.model, trained.network, trained.example, kind)
    random = np.random.default_rng(3)
    policy = corner_policies(trained.choices)[1] if network is NarrowSqueezes else draw_policy(trained.choices, random)
    content, exported = template.file(policy, random), kind.read(converted(trained, policy, kind))
    assert kind.read(content).uses() == exported.uses()
    assert template.operators(policy) == exported.operators()
    images = np.ones((1, 3, 32, 32), np.float32)
    assert np.isfinite(kind.load(content)(images)).all()
    if file_format == "tflite":  # XNNPACK does not look at the lengths of biases
        assert np.isfinite(TfliteModel(content, delegate=False)(images)).all()


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte", "aten"])
def test_a_filter_of_a_layer_that_is_called_twice_is_written_once(file_format: str) -> None:
    kind = available(file_format)
    trained = traced_for(CalledTwice())
    template = lower(trained.model, trained.network, trained.example, kind)
    policy = trained.network.original
    assert len(template.file(policy, np.random.default_rng(0))) < 1.1 * len(converted(trained, policy, kind))


def test_a_tflite_file_says_the_same_however_many_threads_share_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = traced_for(NarrowSqueezes())
    content = converted(trained, trained.network.original, available("tflite"))
    images = np.random.default_rng(0).random((13, 3, 32, 32), np.float32)

    def outputs(threads: int) -> np.ndarray:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        return TfliteModel(content)(images)

    assert np.array_equal(outputs(3), outputs(1))
