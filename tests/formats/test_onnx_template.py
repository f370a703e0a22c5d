"""An ONNX graph takes the place of a TFLite one: the same operators, written and run for any channel counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from amc_hw.data.dataset import Part
from amc_hw.data.sources import InMemory
from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.formats.check import output_difference
from amc_hw.formats.export import export
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.onnx.convert import OnnxModel, to_onnx
from amc_hw.formats.onnx.graph import OnnxGraph
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.formats.template import lower
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.classification import evaluate_file
from amc_hw.tracing.traced import TracedModel


@pytest.fixture(scope="module")
def onnx_template(traced: TracedModel) -> GraphTemplate:
    return lower(traced.model, traced.network, traced.example.expand(4, -1, -1, -1), FORMATS["onnx"])


def test_template_knows_the_operators_of_any_pruned_network(traced: TracedModel, onnx_template: GraphTemplate) -> None:
    policy = draw_policy(traced.choices, np.random.default_rng(5))
    small = shrink(traced.model, traced.network, first_channels(policy))
    exported = OnnxGraph(to_onnx(small, traced.example.expand(4, -1, -1, -1))).operators()
    assert onnx_template.operators(policy) == exported
    assert [onnx_template.operator(index, policy) for index in range(len(exported))] == exported
    macs = sum(operator.macs for operator in exported)
    assert macs == 4 * traced.network.macs(policy)


def test_both_formats_tell_the_same_convolutions(
    traced: TracedModel, template: GraphTemplate, onnx_template: GraphTemplate
) -> None:
    def filters(found: GraphTemplate) -> list[tuple[str, int, int, int]]:
        return [(o.kind, o.c_in, o.c_out, o.fan_in) for o in found.operators(traced.network.original) if o.fan_in]

    # LiteRT's converter writes the first one, of a single input channel, as a depthwise convolution.
    assert filters(template)[1:] == filters(onnx_template)[1:]
    assert filters(onnx_template)[0] == ("CONV_2D", 1, 16, 9)


def test_written_file_has_those_operators_and_runs(traced: TracedModel, onnx_template: GraphTemplate) -> None:
    policy = draw_policy(traced.choices, np.random.default_rng(6))
    content = onnx_template.file(policy, np.random.default_rng(0))
    assert OnnxGraph(content).operators() == onnx_template.operators(policy)
    outputs = OnnxModel(content)(np.random.default_rng(1).random((4, 1, 32, 32), np.float32))
    assert outputs.shape == (4, 10)
    assert np.isfinite(outputs).all()
    assert outputs.std() > 0


def test_kernels_of_fused_nodes_find_their_operator(traced: TracedModel, onnx_template: GraphTemplate) -> None:
    graph = onnx_template.graph
    names = [graph.name(graph.tensors_of(index)[-1]) for index in range(len(graph.kinds))]  # its last node's output
    kernels = [f"{names[0]}_nchwc", "ReorderOutput", f"fused {names[2]}", f"{names[1]}_nchwc"]
    assert graph.owners(kernels) == [0, 0, 2, 1]
    assert graph.owners(["ReorderInput", *kernels]) == [0, 0, 0, 2, 1]  # nothing ran before it


def test_residual_additions_belong_to_the_convolution_that_they_are_fused_into() -> None:
    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x).relu()
            return (self.second(x) + x).relu()

    graph = OnnxGraph(to_onnx(Residual().eval(), torch.zeros(1, 8, 6, 6)))
    shape = "1x6x6xC,1x6x6xC k=3x3 s=1 pad=same"
    assert [o.family for o in graph.operators()] == [f"CONV_2D {shape} act=relu", f"CONV_2D {shape} add act=relu"]


def test_exported_file_computes_the_same_for_any_number_of_images(traced: TracedModel, tmp_path: Path) -> None:
    export(traced.model, traced.example.expand(4, -1, -1, -1), tmp_path / "m.onnx")
    model = load_file(tmp_path / "m.onnx")
    assert model.image_size == (1, 32, 32)
    assert output_difference(traced.model, model, torch.randn(7, 1, 32, 32)) < 1e-4


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(UnsupportedModelError, match="not an ONNX"):
        load_file(tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModelError, match="not an ONNX"):
        OnnxGraph(b"not a model")
    (tmp_path / "m.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="none of the formats"):
        load_file(tmp_path / "m.bin")


def test_a_file_that_gives_no_score_for_each_class_is_not_scored(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("ArgMax", ["flat"], ["label"], axis=1, keepdims=0),
    ]
    images = helper.make_tensor_value_info("x", kinds.FLOAT, [1, 1, 8, 8])
    label = helper.make_tensor_value_info("label", kinds.INT64, [1])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [images], [label]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    (tmp_path / "labels.onnx").write_bytes(model.SerializeToString())
    pixels, labels = torch.zeros(20, 8, 8, 1, dtype=torch.uint8), torch.arange(20) % 10
    part = Part(InMemory(pixels), torch.arange(20), labels, (0.5,), (0.5,))
    with pytest.raises(UsageError, match="gives 1 numbers for an image, the data has 10 classes"):
        evaluate_file(tmp_path / "labels.onnx", part, SILENT)
