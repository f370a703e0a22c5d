"""Operators of an ExecuTorch file in the words of the latency tables: channels last, activations as attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from amc_hw.formats.axes import laid_last
from amc_hw.formats.executorch.delegate import Delegate, Node
from amc_hw.latency.operators import Operator, Shape, channels_last

_KINDS = {
    "Conv2d": "CONV_2D",
    "DepthwiseConv2d": "DEPTHWISE_CONV_2D",
    "ConvTranspose2d": "TRANSPOSE_CONV",
    "FullyConnected": "FULLY_CONNECTED",
    "BatchMatrixMultiply": "BATCH_MATMUL",
    "GlobalAvgPooling2d": "MEAN",
    "AvgPooling2d": "AVERAGE_POOL_2D",
    "MaxPooling2d": "MAX_POOL_2D",
    "StaticTranspose": "TRANSPOSE",
    "StaticReshape": "RESHAPE",
    "StaticSlice": "SLICE",
    "StaticConstantPad": "PAD",
    "StaticResizeBilinear2D": "RESIZE_BILINEAR",
    "Sigmoid": "LOGISTIC",
    "Multiply": "MUL",
    "Subtract": "SUB",
    "Hardswish": "HARD_SWISH",
}
_CONVOLUTIONS = frozenset({"Conv2d", "DepthwiseConv2d", "ConvTranspose2d"})
_TO_LAST, _TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_LIMITS = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}


def node_kind(delegate: Delegate, node: Node) -> str:
    """Return the name in latency tables of what XNNPACK runs."""
    if node.kind == "Convert":
        whole = np.issubdtype(delegate.values[node.outputs[0]].dtype, np.integer)
        return "QUANTIZE" if whole else "DEQUANTIZE"
    if node.kind == "Clamp":
        return (_activation(node) or "clamp").upper()
    if node.kind.startswith("Concatenate"):
        return "CONCATENATION"
    return _KINDS.get(node.kind, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.kind).upper())


def channels_first(delegate: Delegate) -> set[int]:
    """Return the values of a delegate whose channels are the second axis: those outside, and what is made of them."""
    first = {value.id for value in delegate.values.values() if value.external is not None}
    for node in delegate.nodes:
        turned = node.fields.get("perm") if node.kind == "StaticTranspose" else None
        keeps = turned not in (_TO_LAST, _TO_FIRST) and node.kind != "StaticReshape"
        if turned == _TO_LAST:
            first.difference_update(node.outputs)
        elif not keeps or first.intersection(node.inputs):
            first.update(node.outputs)
    return first


def node_operator(delegate: Delegate, node: Node, first: set[int], shapes: Mapping[int, Shape]) -> Operator:
    """Return the operator that a node is.

    Args:
        delegate: where it stands.
        node: of it.
        first: the values whose channels are the second axis.
        shapes: of every value that the node touches.
    """
    constants = {each for each in node.inputs if delegate.values[each].buffer}
    weight = shapes[node.number("filter_id")] if "filter_id" in node.fields else ()
    inputs = [each for each in node.inputs if each not in constants]
    return Operator(
        node_kind(delegate, node),
        tuple(_attributes(node, weight)),
        tuple(laid_last(each, first, shapes) for each in inputs),
        tuple(laid_last(each, first, shapes) for each in node.outputs),
        _fan_in(node, weight),
    )


def call_operator(name: str, inputs: Sequence[Shape], outputs: Sequence[Shape], filters: Sequence[Shape]) -> Operator:
    """Return the operator that a call of one of ExecuTorch's own kernels is.

    Args:
        name: of the kernel.
        inputs: shapes of the activations that it reads, channels first.
        outputs: shapes of what it writes.
        filters: shapes of the constants that it reads.
    """
    kind = call_kind(name)
    weight = filters[0] if filters and kind == "CONVOLUTION" else ()
    return Operator(
        kind,
        (),
        tuple(map(channels_last, inputs)),
        tuple(map(channels_last, outputs)),
        math.prod(weight[1:]) if weight else 0,
    )


def call_kind(name: str) -> str:
    """Return the name in latency tables of one of ExecuTorch's own kernels (``aten::mean.out``)."""
    return name.partition("::")[2].partition(".")[0].strip("_").upper()


def _fan_in(node: Node, weight: Shape) -> int:
    """Filter values behind one output value; filters are (out, h, w, in), those of depthwise layers (1, h, w, out)."""
    if not weight:
        return 0
    return math.prod(weight[:-1] if node.kind == "DepthwiseConv2d" else weight[1:])


def _activation(node: Node) -> str:
    limits = node.record.get("output_min_max")
    if limits is None:
        return ""
    return _LIMITS.get((float(limits["output_min"]), float(limits["output_max"])), "clamp")


def _attributes(node: Node, weight: Shape) -> list[str]:
    """Options that decide which kernel runs, written as for TFLite."""
    fields, attributes = node.fields, []
    if node.kind in _CONVOLUTIONS:
        attributes = [f"k={weight[1]}x{weight[2]}", f"s={fields['subsampling_height']}"]
        attributes += [f"d={fields['dilation_height']}"] if fields["dilation_height"] != 1 else []
        attributes.append("pad=same" if fields["padding_top"] or fields["padding_left"] else "pad=valid")
    elif "pooling_height" in fields:
        attributes = [f"k={fields['pooling_height']}", f"s={fields.get('stride_height', 1)}"]
    elif "perm" in fields:
        attributes = [f"perm={''.join(map(str, cast(list[int], fields['perm'])))}"]
    if node.kind != "Clamp" and (activation := _activation(node)):
        attributes.append(f"act={activation}")
    return attributes
