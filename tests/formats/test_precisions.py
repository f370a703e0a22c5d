"""Every precision of a format: the file runs, is the network's, and can be written for other channels."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from small_nets import ChunksAndNeck, JoinedEnds, PaddedPool, TinyDetector, TinyResidual, convolution, learned
from tiny import TinyNet
from torch import nn
from torch.nn import functional as F
from writers import available

pytest.importorskip("litert_torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from ai_edge_litert import schema_py_generated as schema

from amc_hw.devices.registry import open_device
from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.formats.check import require_near
from amc_hw.formats.export import export
from amc_hw.formats.onnx.convert import OnnxModel
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.formats.template import lower
from amc_hw.formats.tflite import activations
from amc_hw.formats.tflite.activations import activation_ranges
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.policy import DTYPES, Precision
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.quantize.ranges import range_of
from amc_hw.tracing.traced import trace_model

QUANTIZED: list[tuple[str, Precision]] = [
    (name, precision) for name, kind in FORMATS.items() for precision in kind.precisions if precision != "fp32"
]
NOISE: dict[Precision, float] = {"fp16": 0.001, "int16x8": 0.005, "int8": 0.01, "int8-dynamic": 0.005}
"""Of outputs, as a share of their range: what rounding may do to a small network."""
NOISE_OF_HALVES: dict[Precision, float] = {"fp16": 0.002, "bf16": 0.016}
"""Likewise where outputs have 16 bits themselves, as in files of ATen calls: three bits fewer, eight times as much."""


def noise_of(file_format: str, precision: Precision) -> float:
    return (NOISE_OF_HALVES if file_format == "aten" else NOISE)[precision]


@pytest.fixture(autouse=True)
def _the_same_networks() -> None:
    """Whichever tests ran before."""
    torch.manual_seed(0)


def images(count: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("file_format", "precision"), QUANTIZED)
@pytest.mark.parametrize("network", [ChunksAndNeck, PaddedPool])
def test_a_file_in_another_precision_is_near_its_network_and_smaller(
    network: type[nn.Module], file_format: str, precision: Precision, tmp_path: Path
) -> None:
    available(file_format)
    model, file, whole = learned(network()), tmp_path / f"m.{file_format}", tmp_path / f"whole.{file_format}"
    export(model, images(1), file, precision, images(64))
    export(model, images(1), whole)
    with torch.no_grad():
        expected = model(images()).numpy()
    written = load_file(file)(images().numpy())  # floats go in and come out
    noise = np.sqrt(np.square(written - expected).mean()) / np.ptp(expected)
    assert noise <= noise_of(file_format, precision)
    assert file.stat().st_size < whole.stat().st_size


@pytest.mark.parametrize(("file_format", "precision"), QUANTIZED)
@pytest.mark.parametrize("network", [ChunksAndNeck, TinyResidual, PaddedPool, TinyDetector])
def test_written_files_have_the_sizes_of_quantized_ones_and_run(
    network: type[nn.Module], file_format: str, precision: Precision
) -> None:
    trained = trace_model(learned(network()), (3, 32, 32))
    kind = available(file_format).in_precision(precision, images(64))
    template = lower(trained.model, trained.network, trained.example, kind)
    policy = draw_policy(trained.choices, np.random.default_rng(3))
    content = template.file(policy, np.random.default_rng(0))
    small = shrink(trained.model, trained.network, first_channels(policy))
    exported = kind.read(kind.convert(small, trained.example))
    assert kind.read(content).uses() == exported.uses()
    assert template.operators(policy) == exported.operators()
    assert np.isfinite(kind.load(content)(images(1).numpy())).all()


@pytest.mark.parametrize(("file_format", "precision"), QUANTIZED)
def test_boxes_and_scores_that_are_one_tensor_are_each_as_near_as_alone(
    file_format: str, precision: Precision, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    available(file_format)
    model, file = learned(TinyDetector()), tmp_path / f"m.{file_format}"
    export(model, images(1), file, precision, images(64))
    with torch.no_grad():
        expected = model(images()).numpy()
    error = load_file(file)(images().numpy()) - expected
    noise = np.sqrt(np.square(error).mean((0, 2))) / np.ptp(expected, axis=(0, 2))
    assert noise.max() <= 1.5 * noise_of(file_format, precision)
    assert "more than images do" not in caplog.text


@pytest.mark.parametrize("file_format", [name for name, kind in FORMATS.items() if "int8" in kind.precisions])
def test_layers_before_a_joined_end_are_of_whole_numbers(file_format: str) -> None:
    kind = available(file_format)
    content = kind.in_precision("int8", images(64)).convert(learned(JoinedEnds()), images(1))
    assert kind.left_in_float is not None
    assert not [name for name in kind.left_in_float(content) if "conv" in name.lower()]


def test_what_rounding_has_ruined_of_an_output_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, file = learned(TinyDetector()), tmp_path / "m.tflite"
    export(model, images(1), file, "int8", images(64), "int8")  # a file of whole numbers has one scale for both
    assert "the channels 4, 5, 6 of an output 7x64 more than images do" in caplog.text


def test_minus_infinity_that_means_something_is_not_rounded_to_a_number(tmp_path: Path) -> None:
    """A scale of finite values alone would make a mask of -inf one of the least of them, without a word."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Sequential(convolution(3, 16), nn.MaxPool2d(3, 2, 1)), nn.Linear(16, 10)
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]).repeat(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head((self.stem(x).mean((2, 3)) + self.mask).softmax(-1))  # type: ignore[no-any-return]

    with pytest.raises(
        UnsupportedModelError, match=r"cannot write this network in int8: the numbers of '.*' are infinite"
    ):
        export(learned(Masked()), images(1), tmp_path / "m.tflite", "int8", images(64))


@pytest.mark.parametrize("file_format", [name for name, precision in QUANTIZED if precision == "int8"])
def test_int8_is_integer_inside(file_format: str) -> None:
    kind = available(file_format).in_precision("int8", images(16, 1))
    content = kind.convert(learned(TinyNet()), images(1, 1))
    kinds = [operator.kind for operator in kind.read(content).operators()]
    assert kinds[0] == "QUANTIZE"
    assert kinds[-1] == "DEQUANTIZE"
    turned = {"TRANSPOSE"} if file_format == "pte" else set()  # its images are channels first, XNNPACK's maps last
    assert not ({"QUANTIZE", "DEQUANTIZE", "TRANSPOSE", "CAST"} - turned) & set(kinds[1:-1])
    assert kind.left_in_float is not None
    assert kind.left_in_float(content) == []


def test_a_tflite_file_has_a_scale_for_every_channel() -> None:
    kind = FORMATS["tflite"].in_precision("int8", images(16, 1))
    graph = TfliteGraph(kind.convert(learned(TinyNet()), images(1, 1)))
    scales = [
        len(graph.subgraph.tensors[graph.tensors_of(index)[1]].quantization.scale)
        for index, name in enumerate(graph.kinds)
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    ]
    assert scales == [16, 32, 48, 10]


def test_an_onnx_file_has_a_scale_for_every_channel_and_unsigned_activations() -> None:
    onnx = pytest.importorskip("onnx")
    kind = FORMATS["onnx"].in_precision("int8", images(16, 1))
    graph = onnx.load_model_from_string(kind.convert(learned(TinyNet()), images(1, 1))).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    by_layer = [
        stored[node.input[1]].size
        for node in graph.node
        if node.op_type == "DequantizeLinear" and stored.get(node.input[0], np.empty(0)).dtype == np.int8
    ]
    assert sorted(by_layer) == sorted([16, 32, 48, 10])
    activations = [stored[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {(zero.dtype, zero.ndim) for zero in activations} == {(np.dtype(np.uint8), 0)}


def test_integer_products_of_onnx_files_are_exact_on_every_processor() -> None:
    """A processor without VNNI would cut the sum of two products of 255 x 127 off at 32767."""
    pytest.importorskip("onnx")
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False)).eval()
    with torch.no_grad():
        network[1].weight[:] = torch.tensor([1.0, -1.0, 0.9, -0.8])[:, None]
    bright = torch.ones(16, 1, 8, 8) - 0.01 * torch.rand(16, 1, 8, 8)
    kind = FORMATS["onnx"].in_precision("int8", bright)
    found = OnnxModel(kind.convert(network, bright[:1])).outputs([bright[:1].numpy()])[0]
    assert found == pytest.approx(network(bright[:1]).detach().numpy(), rel=0.02)


def test_every_operator_of_an_onnx_file_that_computes_is_timed(tmp_path: Path) -> None:
    trained = trace_model(learned(TinyResidual()), (3, 32, 32))
    kind = FORMATS["onnx"].in_precision("int8", trained.calibration)
    template = lower(trained.model, trained.network, trained.example, kind)
    file, policy = tmp_path / "m.onnx", draw_policy(trained.choices, np.random.default_rng(1))
    file.write_bytes(template.file(policy, np.random.default_rng(0)))
    with open_device("onnx", "int8") as device:
        names = [kernel.name for kernel in device.time_kernels(file, warmup=1, runs=2)]
    timed = {owner for owner in template.graph.owners(names) if owner is not None}
    only_moves = {i for i, operator in enumerate(template.operators(policy)) if operator.kind == "RESHAPE"}
    assert timed | only_moves == set(range(len(template.graph.kinds)))
    strangers = [name for name in names if name.startswith("Transpose")]
    assert len(names) - len(strangers) <= len(template.graph.kinds)  # none of them is run as several


class Erfs(nn.Module):
    """Has an operator that the quantizers leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sin(self.first(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("file_format", "name"), [("tflite", "SIN"), ("onnx", "Sin"), ("pte", "SIN, MEAN, TRANSPOSE, RESHAPE")]
)
def test_operators_that_stay_in_float_are_named(
    file_format: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    available(file_format)
    export(learned(TinyNet()), images(1, 1), tmp_path / f"m.{file_format}", "int8", images(16, 1))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]  # torch traces below that
    export(learned(Erfs()), images(1, 1), tmp_path / f"n.{file_format}", "int8", images(16, 1))
    assert f"{name} stay in float32" in caplog.text


class Switched(nn.Module):
    """Has an operator in its middle that XNNPACK runs in float32 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(F.gelu(self.first(x))).mean((2, 3)))


def test_operators_that_split_an_integer_file_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    available("tflite")
    export(learned(Switched()), images(1, 1), tmp_path / "float.tflite")
    assert "XNNPACK" not in caplog.text
    export(learned(Switched()), images(1, 1), tmp_path / "int8.tflite", "int8", images(16, 1))
    assert "int8.tflite: XNNPACK has no GELU of integers" in caplog.text


def test_ranges_of_an_onnx_file_leave_odd_images_out_and_joined_maps_share_one() -> None:
    onnx = pytest.importorskip("onnx")
    from amc_hw.formats.onnx.activations import activation_ranges as onnx_ranges
    from amc_hw.formats.onnx.graph import OnnxGraph

    seen = images(64)
    model = onnx.load_model_from_string(FORMATS["onnx"].convert(learned(ChunksAndNeck()), images(1)))
    model = onnx.shape_inference.infer_shapes(model)
    graph = FORMATS["onnx"].read(model.SerializeToString())
    assert isinstance(graph, OnnxGraph)
    ranges = onnx_ranges(model, graph, [seen.numpy()])
    assert not {tensor.name for tensor in model.graph.initializer} & set(ranges)
    odd = seen.clone()
    odd[0] *= 100.0
    widened = onnx_ranges(model, graph, [odd.numpy()])
    assert widened.keys() == ranges.keys()
    assert max(high for _, high in widened.values()) < 2 * max(high for _, high in ranges.values())
    for node in model.graph.node:
        if node.op_type == "Concat":
            assert len({ranges[name] for name in (*node.input, *node.output)}) == 1


def test_ranges_are_of_activations_alone_and_leave_odd_images_out() -> None:
    model, seen = learned(TinyNet()), images(64, 1)
    content = FORMATS["tflite"].convert(model, images(1, 1))
    graph = TfliteGraph(content)
    constant = {graph.name(tensor) for tensor in range(len(graph.shapes())) if graph.is_constant(tensor)}
    graph = TfliteGraph(content)
    ranges = activation_ranges(content, graph, [seen.numpy()])
    assert not constant & set(ranges)
    odd = seen.clone()
    odd[0] *= 100.0
    assert activation_ranges(content, graph, [odd.numpy()]).keys() == ranges.keys()
    widest = max(float(each["max"].max()) for each in ranges.values())
    assert (
        max(float(each["max"].max()) for each in activation_ranges(content, graph, [odd.numpy()]).values()) < 2 * widest
    )


def test_int8_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give calibration="):
        export(learned(TinyNet()), images(1, 1), tmp_path / "m.tflite", "int8")


@pytest.mark.parametrize("network", [ChunksAndNeck, TinyResidual])
def test_a_file_of_int8_io_says_the_same_as_that_of_float_io(network: type[nn.Module], tmp_path: Path) -> None:
    model, plain, whole = learned(network()), tmp_path / "plain.tflite", tmp_path / "whole.tflite"
    export(model, images(1), plain, "int8", images(64))
    export(model, images(1), whole, "int8", images(64), "int8")
    with_floats, without = (TfliteGraph(file.read_bytes()) for file in (plain, whole))
    assert with_floats.kinds == ["QUANTIZE", *without.kinds, "DEQUANTIZE"]
    assert "QUANTIZE" not in without.kinds
    for tensor in (without.subgraph.inputs[0], without.subgraph.outputs[0]):
        assert without.subgraph.tensors[tensor].type == schema.TensorType.INT8
    step = float(without.subgraph.tensors[without.subgraph.outputs[0]].quantization.scale[0])
    expected, scores = load_file(plain)(images(200).numpy()), load_file(whole)(images(200).numpy())
    assert scores.dtype == np.float32
    steps = np.abs(scores - expected) / step
    assert steps.max() < 1.01  # a number that lies between two integers
    assert (steps < 0.01).mean() > 0.999


def test_files_written_for_other_channels_have_the_io(tmp_path: Path) -> None:
    trained = trace_model(learned(TinyResidual()), (3, 32, 32))
    kind = FORMATS["tflite"].in_precision("int8", trained.calibration, "int8")
    template = lower(trained.model, trained.network, trained.example, kind)
    policy = draw_policy(trained.choices, np.random.default_rng(3))
    small = shrink(trained.model, trained.network, first_channels(policy))
    exported = kind.read(kind.convert(small, trained.example))
    assert template.operators(policy) == exported.operators()
    assert exported.operators()[0].kind != "QUANTIZE"


@pytest.mark.parametrize("precision", [each for each in FORMATS["tflite"].precisions if each != "int8"])
def test_int8_io_is_of_int8_alone(precision: Precision, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"not of {precision}; give precision=int8"):
        export(learned(TinyNet()), images(1, 1), tmp_path / "m.tflite", precision, images(16, 1), "int8")


def test_few_images_are_all_seen() -> None:
    assert range_of(np.array([-1.0, -10.0]), np.array([1.0, 10.0])) == (-10.0, 10.0)
    assert range_of(np.arange(100.0) - 100, np.arange(100.0)) == (-98.0, 97.0)


def test_what_rounding_has_ruined_is_refused() -> None:
    model = learned(TinyNet())
    with pytest.raises(UnsupportedModelError, match="would say nothing of the network's outputs"):
        require_near(model, lambda pictures: np.zeros((len(pictures), 10)) + 1e3, images(16, 1), Path("m.tflite"))


def test_a_file_that_the_runtime_refuses_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, example = learned(TinyResidual()), images(16)
    nn.init.constant_(model.squeeze.bias, -1000.0)  # zero whatever the image
    export(model, example[:1], tmp_path / "runs.tflite", "int8", example)
    monkeypatch.setattr(activations, "_widen_dead", lambda *_: None)  # the quantizer's own scale is refused
    with pytest.raises(UnsupportedModelError, match=r"in int8 \(failed to .*choose another precision=.*int8-dynamic"):
        export(model, example[:1], tmp_path / "m.tflite", "int8", example)
    assert not (tmp_path / "m.tflite").exists()
    export(model, example[:1], tmp_path / "m.tflite", "int8-dynamic", example)


@pytest.mark.parametrize("file_format", [name for name, kind in FORMATS.items() if len(kind.precisions) < len(DTYPES)])
def test_a_precision_that_a_format_lacks_is_refused(file_format: str, tmp_path: Path) -> None:
    lacking = next(precision for precision in DTYPES if precision not in FORMATS[file_format].precisions)
    with pytest.raises(UsageError, match=f"not as {lacking}"):
        export(TinyNet().eval(), images(1, 1), tmp_path / f"m.{file_format}", lacking, images(4, 1))
