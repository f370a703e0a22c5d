"""Files call their inputs and outputs what the network calls them, and keep their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from amc_hw.formats.export import export
from amc_hw.formats.names import names_of
from amc_hw.formats.registry import FORMATS
from amc_hw.policy import Precision
from amc_hw.tracing.inputs import spread, tensors_of

WANTED = {
    "one": ["output"],
    "tuple": ["output_0", "output_1"],
    "dict": ["linear", "conv_weight"],
    "nested": ["levels_0", "levels_1", "input_2"],
}
"""Names of outputs by what the network gives; some of them stand for something else in the file."""


class Heads(nn.Module):
    def __init__(self, gives: str) -> None:
        super().__init__()
        self.gives = gives
        self.conv = nn.Conv2d(3, 8, 3)
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Any:
        pooled = self.conv(image).relu().mean((2, 3))
        one, two = self.first(pooled), self.second(pooled)
        return {
            "one": one,
            "tuple": (one, two),
            "dict": {"linear": one, "conv.weight": two},
            "nested": {"levels": [two, one], "input": one + 1},
        }[self.gives]


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 + 5, 4)

    def forward(self, image: Tensor, extra: Tensor) -> Tensor:
        return self.head(torch.cat([image.mean((2, 3)), extra], 1))


def named(content: bytes, ending: str) -> tuple[list[str], list[str]]:
    """Return the names that a program on the device finds in a file, without the order where it tells none."""
    if ending == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
        return [each.name for each in session.get_inputs()], [each.name for each in session.get_outputs()]
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=content)
    (signature,) = interpreter.get_signature_list().values()
    return signature["inputs"], signature["outputs"]


def written(network: nn.Module, example: Any, path: Path, precision: Precision) -> bytes:
    calibration = torch.randn(16, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    export(network, example, path, precision, calibration)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("gives", "precision"), [("one", "fp32"), ("tuple", "fp32"), ("dict", "int8"), ("nested", "int8")]
)
@pytest.mark.parametrize("ending", ["tflite", "onnx"])
def test_outputs_are_named_after_what_the_network_gives(
    ending: str, precision: Precision, gives: str, tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch" if ending == "tflite" else "onnxruntime")
    torch.manual_seed(0)
    network, image = Heads(gives).eval(), torch.randn(1, 3, 8, 8)
    content = written(network, image, tmp_path / f"heads.{ending}", precision)
    inputs, outputs = named(content, ending)
    assert inputs == ["input"]
    assert sorted(outputs) == sorted(WANTED[gives])
    given = FORMATS[ending].load(content).outputs([image.numpy()])
    for ours, theirs in zip(tensors_of(network(image)), given, strict=True):
        assert np.abs(ours.detach().numpy() - theirs).max() < (1e-4 if precision == "fp32" else 0.1)


@pytest.mark.parametrize("ending", ["tflite", "onnx"])
def test_inputs_are_named_after_the_arguments(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch" if ending == "tflite" else "onnxruntime")
    example = torch.randn(1, 3, 8, 8), torch.randn(1, 5)
    network = spread(TwoInputs().eval(), example)
    export(network, example, path := tmp_path / f"two.{ending}")
    inputs, outputs = named(path.read_bytes(), ending)
    assert sorted(inputs) == ["extra", "image"]
    assert outputs == ["output"]
    (given,) = FORMATS[ending].load(path.read_bytes()).outputs([each.numpy() for each in example])
    np.testing.assert_allclose(given, network(example).detach().numpy(), atol=1e-5)


def test_arguments_that_are_not_known_are_numbered_and_no_name_is_given_twice() -> None:
    class Any_(nn.Module):
        def forward(self, *images: Tensor) -> dict[str, Tensor]:
            return {"input_0": images[0], "a b": images[1], "a_b": images[1]}

    example = torch.zeros(1, 2), torch.zeros(1, 3)
    assert names_of(spread(Any_(), example), example) == (["input_0", "input_1"], ["input_0_2", "a_b", "a_b_2"])
    keys = {"words": torch.zeros(1, 2), "": torch.zeros(1, 3)}
    assert names_of(nn.Identity(), keys) == (["words", "input"], ["words_2", "output"])


@pytest.mark.parametrize("ending", ["tflite", "onnx"])
def test_an_input_that_nothing_reads_and_an_output_that_is_an_input(ending: str, tmp_path: Path) -> None:
    class Passes(nn.Module):
        def forward(self, image: Tensor, unread: Tensor) -> dict[str, Tensor]:
            return {"image": image, "half": image / 2}

    pytest.importorskip("litert_torch" if ending == "tflite" else "onnxruntime")
    example = torch.randn(1, 5), torch.randn(1, 3)
    export(spread(Passes().eval(), example), example, path := tmp_path / f"passes.{ending}")
    given = FORMATS[ending].load(path.read_bytes()).outputs([each.numpy() for each in example])
    np.testing.assert_allclose(given[1], example[0].numpy() / 2)
