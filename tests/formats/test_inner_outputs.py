"""What a network gives and computes with as well, such as an embedding beside the scores, is right in integer files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from amc_hw.formats.export import export
from amc_hw.formats.registry import FORMATS
from amc_hw.policy import Io, Precision

GO_ON = {
    "layer": lambda net, inner: net.head(inner),
    "constant": lambda net, inner: inner + 1,
    "parameter": lambda net, inner: inner * net.scale,
    "itself": lambda net, inner: inner + inner,
    "relu": lambda net, inner: inner.relu(),
    "clip": lambda net, inner: net.head(inner.clamp(0, 6)),
    "softmax": lambda net, inner: inner.softmax(1),
    "another": lambda net, inner: inner + net.head(inner),
}
"""What is computed of a result that is an output, too."""


class Embedding(nn.Module):
    def __init__(self, goes_on: str, ends: str = "first") -> None:
        super().__init__()
        self.goes_on, self.ends = goes_on, ends
        self.conv, self.first, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 6), nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.rand(6) + 0.5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.conv(image).relu()
        inner = maps.amax((2, 3))[:, :6] if self.ends == "largest" else self.first(maps.mean((2, 3)))
        return inner, GO_ON[self.goes_on](self, inner)


@pytest.mark.parametrize("goes_on", GO_ON)
@pytest.mark.parametrize(
    ("ending", "precision", "io"),
    [
        ("tflite", "int8", "float32"),
        ("tflite", "int8", "int8"),
        ("tflite", "int16x8", "float32"),
        ("onnx", "int8", "float32"),
    ],
)
def test_an_inner_result_that_is_an_output(
    ending: str, precision: Precision, io: Io, goes_on: str, tmp_path: Path
) -> None:
    require_right(Embedding(goes_on), ending, precision, io, tmp_path)


@pytest.mark.parametrize("goes_on", ["layer", "relu", "another"])
@pytest.mark.parametrize(("ending", "io"), [("tflite", "float32"), ("tflite", "int8"), ("onnx", "float32")])
def test_an_inner_result_of_an_operator_that_stays_in_float(ending: str, io: Io, goes_on: str, tmp_path: Path) -> None:
    require_right(Embedding(goes_on, "largest"), ending, "int8", io, tmp_path)


def require_right(network: nn.Module, ending: str, precision: Precision, io: Io, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch" if ending == "tflite" else "onnxruntime")
    torch.manual_seed(0)
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.5)
    network.eval()
    path = tmp_path / f"embedding.{ending}"
    images = torch.randn(32, 3, 8, 8)
    export(network, images[:1], path, precision, images, io)
    given = FORMATS[ending].load(path.read_bytes()).outputs([images.numpy()])
    with torch.no_grad():
        for ours, theirs in zip(network(images), given, strict=True):
            assert (ours - torch.from_numpy(theirs)).abs().max() < 0.05 * (ours.max() - ours.min())
