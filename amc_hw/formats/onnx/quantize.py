"""A float ONNX file to an integer one, by ONNX Runtime's quantizer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import Arrays
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.onnx.convert import MISSING
from amc_hw.formats.onnx.session import session_options
from amc_hw.formats.quiet import quiet
from amc_hw.formats.scales import tail_of
from amc_hw.policy import Precision

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

QUANTIZED = (
    *("Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Softmax", "Concat"),
    *("GlobalAveragePool", "AveragePool", "MaxPool", "Resize", "Split", "Gather", "Where"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
)
"""Operators that ONNX Runtime's CPU kernels compute in whole numbers, or that vanish or only move them."""


@interrupts_deferred()
def quantized(content: bytes, precision: Precision, inputs: Arrays) -> bytes:
    """Return an ONNX file in int8; its inputs and its outputs stay what they are.

    Args:
        content: a float32 file.
        precision: ``int8``.
        inputs: training images (N, C, H, W), or other inputs, that tell the ranges of activations.

    Raises:
        UnsupportedModelError: the quantizer refused the file.
        DeviceError: the extra ``onnx`` is not installed.
    """
    with quiet():
        try:
            import onnx

            from amc_hw.formats.onnx.activations import JOINED, activation_ranges
            from amc_hw.formats.onnx.graph import OnnxGraph
            from amc_hw.formats.onnx.kernels import LEADERS
        except ImportError as error:
            raise DeviceError(MISSING) from error
        try:
            model = onnx.load_model_from_string(content)
            _pool_instead_of_mean(model)
            model = onnx.shape_inference.infer_shapes(model)
            graph = OnnxGraph(model.SerializeToString())
            tail = tail_of(graph, JOINED, LEADERS)
            in_float = [name for index in tail for name in graph.node_names(index)]
            result = _with_scales(model, activation_ranges(model, graph, inputs, tail), in_float)
        except Exception as error:
            raise UnsupportedModelError(
                f"ONNX Runtime's quantizer cannot write this network in {precision}: {first_line(error)}"
            ) from error
        written: bytes = result.SerializeToString()
        return written


def _with_scales(model: ModelProto, ranges: dict[str, tuple[float, float]], in_float: list[str]) -> ModelProto:
    """Return a file with the scales of int8 around operators, which ONNX Runtime computes with whole numbers.

    Those that are named in ``in_float`` stay as they are.

    Activations are unsigned and weights signed: x86 with VNNI multiplies and adds these in one instruction, and the
    runtime takes longer than with floats there where activations are signed or weights unsigned. All 8 bits of a weight
    are used; older processors need the option `amc_hw.formats.onnx.session.EXACT` for that.
    """
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

    given = {output.name for output in model.graph.output}
    read_by_limits = {node.input[0] for node in model.graph.node if node.op_type in ("Relu", "Clip")}

    class Quantizer(QDQQuantizer):  # type: ignore[misc]
        def adjust_tensor_ranges(self) -> None:
            """Leave an output its own range, where its only reader in the file is a Relu with a narrower one."""
            own = {name: self.tensors_range[name] for name in given & read_by_limits if name in self.tensors_range}
            super().adjust_tensor_ranges()
            for name, limits in own.items():
                self.tensors_range[name] = limits

    found = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = Quantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, found),
        nodes_to_quantize=[],
        nodes_to_exclude=in_float,
        op_types_to_quantize=list(QUANTIZED),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: ModelProto = quantizer.model.model
    _give_every_reader_its_own(result.graph)
    return result


def _pool_instead_of_mean(model: ModelProto) -> None:
    """Write means over all of a map as global average pooling, for which alone there is an integer kernel."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    nodes = []
    for node in graph.node:
        axes = constants.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        if axes is None or ranks.get(node.input[0]) != 4 or {int(a) % 4 for a in numpy_helper.to_array(axes)} != {2, 3}:
            nodes.append(node)
            continue
        flat = any(attribute.name == "keepdims" and not attribute.i for attribute in node.attribute)
        pooled = f"{node.output[0]}_pooled" if flat else node.output[0]
        nodes.append(helper.make_node("GlobalAveragePool", node.input[:1], [pooled], node.name))
        if flat:
            nodes.append(helper.make_node("Flatten", [pooled], node.output, f"{node.name}_flat"))
    del graph.node[:]
    graph.node.extend(nodes)


def _give_every_reader_its_own(graph: GraphProto) -> None:
    """Dequantize a tensor once for every reader, as the runtime does when it loads the file.

    So every node has what it dequantizes to itself, and weights that several operators share, too: where the runtime
    computes exactly (`amc_hw.formats.onnx.session.EXACT`), it rewrites them for each, and would refuse the second one.
    """
    readers: dict[str, list[tuple[Any, int]]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, place))
    outputs = {output.name for output in graph.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type != "DequantizeLinear":
            continue
        name = node.output[0]
        for number, (reader, place) in enumerate(readers.get(name, [])[name not in outputs :], 1):
            own = type(node)()
            own.CopyFrom(node)
            own.name, own.output[0] = f"{node.name}#{number}", f"{name}#{number}"
            reader.input[place] = own.output[0]
            for part, known in enumerate(node.input if node.input[0] in stored else ()):  # with scale and zero point
                copied = graph.initializer.add()
                copied.CopyFrom(stored[known])
                copied.name = own.input[part] = f"{known}#{number}"
            nodes.append(own)
    del graph.node[:]
    graph.node.extend(nodes)


def left_in_float(content: bytes) -> list[str]:
    """Return the names of the operators of a file that ONNX Runtime computes in floating point on this machine."""
    import onnx
    import onnxruntime

    options = session_options(threads=1)
    with tempfile.TemporaryDirectory() as folder, quiet():
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath).graph
    floats = {entry.name for entry in graph.input}
    found: dict[str, None] = {}
    for node in graph.node:
        reads = not floats.isdisjoint(node.input) and node.op_type != "QuantizeLinear"
        if reads:
            found[node.op_type] = None
        if reads or node.op_type == "DequantizeLinear":
            floats.update(node.output)
    return list(found)
