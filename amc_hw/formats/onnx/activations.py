"""The ranges of an ONNX file's activations on training images: what static quantization makes its scales of."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from amc_hw.formats.batches import Arrays, whole_batches
from amc_hw.formats.onnx.graph import OnnxGraph
from amc_hw.formats.onnx.session import session_options
from amc_hw.formats.scales import of_one_scale
from amc_hw.quantize.ranges import Extremes

JOINED = frozenset({"Concat"})
MOVED = frozenset(
    {
        *("Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze", "Flatten", "Gather", "Pad"),
        *("MaxPool", "AveragePool", "Resize", "Expand", "DepthToSpace", "SpaceToDepth"),
    }
)


def activation_ranges(
    model: ModelProto, graph: OnnxGraph, inputs: Arrays, tail: Collection[int] = ()
) -> dict[str, tuple[float, float]]:
    """Return the range of every floating-point activation of a file.

    Args:
        model: a float32 file in which the type of every tensor is known.
        graph: of the same.
        inputs: each (N, ...); a rest that fills no batch of the file's size is left out, fewer than one are repeated.
        tail: operators that stay in float32.

    Returns:
        A tensor's name to its least and its greatest value.
    """
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    seen = Extremes(batch)
    for name, value in _runs(model, inputs, batch):
        if value.size:
            seen.see(name, value)
    return seen.ranges(of_one_scale(graph, JOINED, MOVED, tail))


def _runs(model: ModelProto, inputs: Arrays, batch: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run inputs in batches of the file's own size; yield those of floating point, and all activations, by name."""
    open_model = ModelProto()
    open_model.CopyFrom(model)
    known = {tensor.name for tensor in (*model.graph.output, *model.graph.initializer)}
    open_model.graph.output.extend(
        value
        for value in model.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in known
    )
    content, options = open_model.SerializeToString(), session_options(threads=1)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.type == "tensor(float)"]
    entries = [entry.name for entry in session.get_inputs()]
    for part in whole_batches(inputs, batch):
        given = dict(zip(entries, part, strict=True))
        yield from ((name, value) for name, value in given.items() if value.dtype == np.float32)
        yield from zip(names, session.run(names, given), strict=True)
