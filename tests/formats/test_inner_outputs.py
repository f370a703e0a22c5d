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
LARGEST = ("layer", "relu", "another")
"""What is computed of the largest values of a map, which no integer kernel finds."""


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(6, 6)
        self.first = nn.ModuleDict({name: nn.Linear(8, 6) for name in GO_ON})
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps = self.conv(image)
        pooled = maps.relu().mean((2, 3))
        inner = {name: first(pooled) for name, first in self.first.items()}
        inner |= {f"{name} of the largest": maps[:, at : at + 6].amax((2, 3)) for at, name in enumerate(LARGEST)}
        then = {f"{name}, then": GO_ON[name.partition(" ")[0]](self, value) for name, value in inner.items()}
        return inner | then


@pytest.mark.parametrize(
    ("ending", "precision", "io"),
    [
        ("tflite", "int8", "float32"),
        ("tflite", "int8", "int8"),
        ("tflite", "int16x8", "float32"),
        ("onnx", "int8", "float32"),
    ],
)
def test_an_inner_result_that_is_an_output(ending: str, precision: Precision, io: Io, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch" if ending == "tflite" else "onnxruntime")
    torch.manual_seed(0)
    network, images, path = Embeddings().eval(), torch.randn(32, 3, 8, 8), tmp_path / f"embedding.{ending}"
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.5)
    export(network, images[:1], path, precision, images, io)
    given = FORMATS[ending].load(path.read_bytes()).outputs([images.numpy()])
    with torch.no_grad():
        wanted = network(images)
    errors = {
        name: float((ours - torch.from_numpy(theirs)).abs().max() / (ours.max() - ours.min()))
        for (name, ours), theirs in zip(wanted.items(), given, strict=True)
    }
    assert not {name: error for name, error in errors.items() if not error < 0.05}
