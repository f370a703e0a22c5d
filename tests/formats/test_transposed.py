"""A U-Net's transposed convolutions in a file: written for any channel counts, it is a real conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cut_check import Net
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from writers import available

from amc_hw.formats.check import TOLERANCE, output_difference
from amc_hw.formats.refill import Refill
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.template import lower
from amc_hw.formats.tflite.rewritten import Rewritten
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.inputs import spread
from amc_hw.tracing.traced import trace_model


def unet(up: nn.ConvTranspose2d) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        one = net.one(x).relu()
        two = net.two(one).relu()
        return net.last(torch.cat([net.up(two), one], 1)).mean((2, 3))

    return Net(
        forward,
        one=nn.Conv2d(3, 16, 3, padding=1),
        two=nn.Conv2d(16, 24, 3, stride=2, padding=1),
        up=up,
        last=nn.Conv2d(32, 5, 1),
    ).eval()


UPS = [(2, 2), (3, 2, 1, 1), (5, 2, 2, 1), (4, 2, 1)]
"""Kernel, stride, padding and output padding of what doubles a map's sides; TFLite knows two of them as they are."""


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("name", ["tflite", "onnx", "aten"])
def test_a_file_for_any_channels_is_that_of_a_real_conversion(name: str, up: tuple[int, ...]) -> None:
    if writer := {"tflite": "litert_torch", "onnx": "onnxscript"}.get(name):
        pytest.importorskip(writer)
    kind = FORMATS[name]
    traced = trace_model(unet(nn.ConvTranspose2d(24, 16, *up)), (3, 16, 16))
    assert traced.network.original == {"one": 16, "two": 24, "up": 16}
    template = lower(traced.model, traced.network, traced.example, kind)
    policy = draw_policy(traced.choices, np.random.default_rng(1))
    small = shrink(traced.model, traced.network, first_channels(policy))
    written, real = template.file(policy, np.random.default_rng(0)), kind.convert(small, traced.example)
    assert kind.read(written).uses() == kind.read(real).uses()
    if name != "aten":
        assert output_difference(small, kind.load(real), torch.randn(2, 3, 16, 16)) <= TOLERANCE


@pytest.mark.parametrize("name", ["onnx", "pte", "aten"])  # LiteRT's converter refuses it
def test_groups_of_a_transposed_convolution_go_from_its_file(name: str) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.up(net.one(x).relu()).relu())

    kind = available(name)
    parts = {"one": nn.Conv2d(3, 24, 3, 2, 1), "up": nn.ConvTranspose2d(24, 32, 2, 2, groups=4)}
    traced = trace_model(Net(forward, **parts, last=nn.Conv2d(32, 2, 1)).eval(), (3, 16, 16))
    template = lower(traced.model, traced.network, traced.example, kind)
    policy = dict.fromkeys(traced.network.original, 2)
    assert traced.network.original == {"one": 4}
    small = shrink(traced.model, traced.network, first_channels(policy))
    written, real = template.file(policy, np.random.default_rng(0)), kind.convert(small, traced.example)
    assert kind.read(written).operators() == kind.read(real).operators() == template.operators(policy)
    assert kind.load(written)(np.ones((1, 3, 16, 16), np.float32)).shape == (1, 2, 16, 16)
    if name == "pte":  # whose filters XNNPACK has in another layout
        return
    content = Refill(template, traced, traced.example, kind.load)(small, policy)
    assert output_difference(small, kind.load(content), torch.randn(2, 3, 16, 16)) <= TOLERANCE


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.of_map, self.of_row = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)

    def forward(self, images: Tensor, rows: Tensor) -> Tensor:
        return self.of_map(images).mean((2, 3)) + self.of_row(rows)


@pytest.mark.parametrize("name", ["tflite", "onnx"])
@pytest.mark.parametrize(
    ("model", "example"),
    [
        (nn.Linear(5, 3), torch.rand(1, 5)),
        (nn.Conv1d(2, 3, 3), torch.rand(1, 2, 9)),
        (nn.Conv3d(2, 3, 3), torch.rand(1, 2, 6, 6, 6)),
        (TwoInputs(), (torch.rand(1, 3, 8, 8), torch.rand(1, 5))),
    ],
    ids=["rows", "over time", "volumes", "several"],
)
def test_networks_that_take_no_images_are_written_and_compute_the_same(
    name: str, model: nn.Module, example: Any
) -> None:
    pytest.importorskip({"tflite": "litert_torch", "onnx": "onnxscript"}[name])
    network = spread(model.eval(), example)
    content = FORMATS[name].convert(network, example)
    assert output_difference(network, FORMATS[name].load(content), example) <= TOLERANCE


@settings(deadline=None, max_examples=60)
@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    extra=st.integers(0, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
)
def test_what_is_cropped_is_what_is_padded(
    kernel: int, stride: int, padding: int, extra: int, dilation: int, groups: int
) -> None:
    assume(extra < max(stride, dilation))
    up = nn.ConvTranspose2d(4, 6, kernel, stride, padding, extra, groups, True, dilation)
    assume((5 - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1 > 0)
    x = torch.randn(2, 4, 5, 7)
    torch.testing.assert_close(Rewritten(up)(x), up(x))
    torch.testing.assert_close(Rewritten(up)(x[0]), up(x[0]))  # an image without a batch
