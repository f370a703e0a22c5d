"""An ONNX file as a graph: its operators in the words of the latency tables, and the file with other channel counts.

ONNX is channels first and has activations as operators of their own; tables are channels last and know the
activation as a convolution's attribute, as TFLite does. Here an operator is what runtimes run as one kernel: a
convolution or matrix product together with the activation and the addition that only its result goes into.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.axes import Step, channels_second, laid_last
from amc_hw.formats.graph import Graph
from amc_hw.formats.onnx.kernels import LEADERS, SCALERS, Groups, owners
from amc_hw.latency.operators import Operator, Shape

_KINDS = {
    "Gemm": "FULLY_CONNECTED",
    "ConvTranspose": "TRANSPOSE_CONV",
    "ReduceMean": "MEAN",
    "GlobalAveragePool": "MEAN",
    "MaxPool": "MAX_POOL_2D",
    "AveragePool": "AVERAGE_POOL_2D",
    "Concat": "CONCATENATION",
    "Sigmoid": "LOGISTIC",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
}


class OnnxGraph(Graph):
    """One ONNX file; every use of a weight has a name of its own here.

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: this is no ONNX file, or shapes in it are not fixed.
    """

    MAY_FUSE = True

    def __init__(self, content: bytes) -> None:
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:  # protobuf's own classes differ between its implementations
            raise UnsupportedModelError(f"this is not an ONNX file: {error}") from error
        self._copies = _give_every_use_its_own_weight(model.graph)
        known = {value.name: value for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
        if any(output not in known for node in model.graph.node for output in node.output if output):
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
            known.update((value.name, value) for value in inferred.graph.value_info)
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._shapes = {name: _shape_of(value) for name, value in known.items()}
        self._shapes.update((name, tuple(tensor.dims)) for name, tensor in self._weights.items())
        self._skeleton = onnx.ModelProto()
        self._skeleton.CopyFrom(model)
        del self._skeleton.graph.initializer[:]
        del self._skeleton.graph.value_info[:]  # they follow from the rest
        nodes = [node for node in model.graph.node if node.op_type != "Constant"]
        self._groups = Groups(nodes, self._weights).groups
        scaled = [node for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in self._weights]
        self._constants = {*self._weights, *(node.output[0] for node in scaled)}
        self._quantized = {name for node in nodes if node.op_type in SCALERS for name in node.input}
        self._factors = {name for node in nodes if node.op_type == "Resize" for name in node.input}  # no weights
        used = dict.fromkeys(name for group in self._groups for node in group for name in (*node.input, *node.output))
        self._names = [name for name in used if name in self._shapes]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        second = channels_second((value.name for value in model.graph.input), map(self._step, nodes))
        self._second = {self._numbers[name] for name in second if name in self._numbers}
        self._kinds = ["+".join(node.op_type for node in group) for group in self._groups]

    @property
    def kinds(self) -> Sequence[str]:
        """ONNX's names of every operator and of what is fused into it."""
        return self._kinds

    def shapes(self) -> list[Shape]:
        """Shape of every tensor."""
        return [self._shapes[name] for name in self._names]

    def name(self, tensor: int) -> str:
        """The tensor's name for people."""
        return str(self._names[tensor])

    def constant(self, tensor: int) -> NDArray[Any] | None:
        """See `Graph.constant`."""
        weight = self._weights.get(self._names[tensor])
        return (
            None
            if weight is None or weight.name in self._factors
            else np.asarray(numpy_helper.to_array(weight)).reshape(-1)
        )

    def is_constant(self, tensor: int) -> bool:
        """Tell whether a tensor's value is stored in the file."""
        return self._names[tensor] in self._constants

    def integers(self, tensor: int) -> Shape | None:
        """See `Graph.integers`; a quantized bias has a scale, and is a weight."""
        weight = self._weights.get(self._names[tensor])
        if weight is None or weight.data_type not in (TensorProto.INT64, TensorProto.INT32):
            return None
        if weight.name in self._quantized:
            return None
        return tuple(int(value) for value in numpy_helper.to_array(weight).reshape(-1))

    def tensors_of(self, index: int) -> list[int]:
        """See `Graph.tensors_of`."""
        return [
            self._numbers.get(name, -1) for node in self._groups[index] for name in (*node.input, *node.output) if name
        ]

    def outputs_of(self, index: int) -> list[int]:
        """See `Graph.outputs_of`."""
        return [self._numbers[name] for node in self._groups[index] for name in node.output if name in self._numbers]

    def node_names(self, index: int) -> list[str]:
        """Return the names of the nodes of an operator in the file."""
        return [str(node.name) for node in self._groups[index]]

    def operator(self, index: int, shapes: Mapping[int, Shape] | Sequence[Shape]) -> Operator:
        """The operator at ``index`` when its tensors have the given shapes."""
        node, *others = self._groups[index]
        followers = [other for other in others if other.op_type not in SCALERS]
        weight: Shape = ()
        if node.op_type in LEADERS and node.input[1] in self._constants:
            weight = shapes[self._numbers[node.input[1]]]
        inputs = [name for name in node.input if name in self._numbers and name not in self._constants]
        read, made = (
            tuple(laid_last(self._numbers[name], self._second, shapes) for name in names if name in self._numbers)
            for names in (inputs, node.output)
        )
        attributes = (*_attributes(node, weight), *map(self._fused, followers))
        return Operator(self._kind(node), attributes, read, made, _fan_in(node, weight, made))

    def _step(self, node: NodeProto) -> Step:
        reads = [
            name for name in node.input if name and name not in self._constants and len(self._shapes.get(name, ())) > 2
        ]
        order = _integers(node, "perm") if node.op_type == "Transpose" else None
        return Step(reads, list(node.output), order, node.op_type in ("MatMul", "Gemm"))

    def _kind(self, node: NodeProto) -> str:
        """The operator's name in latency tables."""
        if node.op_type == "Conv":
            filters = self._shapes[node.input[1]]
            depthwise = filters[1] == 1 and _integer(node, "group", 1) > 1
            return "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        if node.op_type == "MatMul":
            return "FULLY_CONNECTED" if node.input[1] in self._constants else "BATCH_MATMUL"
        if node.op_type == "Clip":
            return "RELU6" if self._limits(node) == (0.0, 6.0) else "CLIP"
        words = "".join(f"_{letter}" if letter.isupper() else letter for letter in node.op_type)
        return _KINDS.get(node.op_type, words.strip("_").upper())

    def _fused(self, node: NodeProto) -> str:
        """The attribute that a follower gives its leader."""
        kind = self._kind(node).lower()
        return "add" if kind == "add" else f"act={kind}"

    def _limits(self, node: NodeProto) -> tuple[float, ...]:
        bounds = [self._weights.get(name) for name in node.input[1:]]
        return tuple(float(numpy_helper.to_array(bound)) for bound in bounds if bound is not None)

    def owners(self, kernels: Sequence[str]) -> list[int | None]:
        """See `Graph.owners`."""
        return owners(self._groups, kernels)

    def packed(
        self,
        shapes: Mapping[int, Shape],
        integers: Mapping[int, Shape],
        values: Mapping[int, NDArray[Any]],
        left_out: Collection[int] = (),
    ) -> bytes:
        """See `Graph.packed`."""
        changed = {self._names[tensor]: shape for tensor, shape in shapes.items()}
        stored = {self._names[tensor]: numpy_helper.from_array(value) for tensor, value in values.items()}
        for tensor, numbers in integers.items():
            old = numpy_helper.to_array(self._weights[self._names[tensor]])
            stored[self._names[tensor]] = numpy_helper.from_array(np.asarray(numbers, old.dtype).reshape(old.shape))
        model = onnx.ModelProto()
        model.CopyFrom(self._skeleton)
        self._leave_out(model.graph, left_out)
        shared = {own: name for own, name in self._copies.items() if self._is_filter_of_both(own, name, changed)}
        for node in model.graph.node:
            if node.op_type in ("Conv", "ConvTranspose") and _integer(node, "group", 1) > 1:
                self._regroup(node, changed)
            for place, name in enumerate(node.input):
                node.input[place] = shared.get(name, name)
        for name in dict.fromkeys(name for node in model.graph.node for name in node.input if name in self._weights):
            model.graph.initializer.append(stored.get(name, self._weights[name]))
            model.graph.initializer[-1].name = name
        for value in (*model.graph.input, *model.graph.output):
            for axis, size in enumerate(changed.get(value.name, ())):
                value.type.tensor_type.shape.dim[axis].dim_value = size
        content: bytes = model.SerializeToString()
        return content

    def _leave_out(self, graph: GraphProto, indices: Collection[int]) -> None:
        """Take operators out of the file; who read their results reads what came into them from the others."""
        made: set[str] = {name for index in indices for node in self._groups[index] for name in node.output}
        stands_for: dict[str, str] = {}
        for index in sorted(indices):
            group = self._groups[index]
            read = [name for node in group for name in node.input if name and name not in self._constants]
            outside = [name for name in read if name not in made]
            within = [stands_for[name] for name in read if name in stands_for]
            stands_for.update((name, (outside or within)[0]) for node in group for name in node.output)
        nodes = [node for node in graph.node if node.output[0] not in made]
        for node in nodes:
            for place, name in enumerate(node.input):
                node.input[place] = stands_for.get(name, name)
        del graph.node[:]
        graph.node.extend(nodes)

    def _is_filter_of_both(self, own: str, name: str, changed: Mapping[str, Shape]) -> bool:
        """Tell whether a layer that is called twice has one filter; equal biases are a coincidence."""
        one, other = (changed.get(each, self._shapes[each]) for each in (own, name))
        return len(one) > 1 and one == other

    def _regroup(self, node: NodeProto, changed: Mapping[str, Shape]) -> None:
        """Set a grouped convolution's number of groups: the channels of the side that its filters have a part of.

        Filters are (out, in / groups, h, w), and of a transposed convolution (in, out / groups, h, w).
        """
        side = node.output[0] if node.op_type == "ConvTranspose" else node.input[0]
        channels, filters = (changed.get(name, self._shapes[name])[1] for name in (side, node.input[1]))
        for attribute in node.attribute:
            if attribute.name == "group":
                attribute.i = channels // filters


def _give_every_use_its_own_weight(graph: GraphProto) -> dict[str, str]:
    """Split the weights that are stored once; those that are equal by coincidence differ with other channels.

    Returns for every new name the one that it is a copy of.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    used, copies = set[str](), dict[str, str]()
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in used:
                own = graph.initializer.add()
                own.CopyFrom(weights[name])
                own.name = node.input[place] = f"{name}#{len(copies)}"
                copies[own.name] = name
            elif name in weights:
                used.add(name)
    return copies


def _shape_of(value: onnx.ValueInfoProto) -> Shape:
    sizes = value.type.tensor_type.shape.dim
    if any(not size.HasField("dim_value") for size in sizes):
        raise UnsupportedModelError(f"the size of '{value.name}' is not fixed; export the network for fixed shapes.")
    return tuple(int(size.dim_value) for size in sizes)


def _integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _integers(node: NodeProto, name: str) -> tuple[int, ...]:
    return next((tuple(map(int, attribute.ints)) for attribute in node.attribute if attribute.name == name), ())


def _fan_in(node: NodeProto, weight: Shape, made: Sequence[Shape]) -> int:
    """Filter values behind one output value; filters are (out, in / groups, h, w), or (in, out / groups, h, w)."""
    if not weight:
        return 0
    if node.op_type == "ConvTranspose":
        return math.prod(weight) // made[0][-1]
    if node.op_type == "Conv" or _integer(node, "transB", 0):
        return math.prod(weight[1:])
    return weight[-2]


def _attributes(node: NodeProto, weight: Shape) -> tuple[str, ...]:
    """Options that decide which kernel runs, written as for TFLite; sizes and defaults are left out."""
    attributes = []
    window = weight[2:] if weight else _integers(node, "kernel_shape")
    if len(window) == 2:
        attributes.append(f"k={window[0]}x{window[1]}" if weight else f"k={window[0]}")
        attributes.append(f"s={(_integers(node, 'strides') or (1,))[0]}")
        dilation = (_integers(node, "dilations") or (1,))[0]
        attributes += [f"d={dilation}"] if dilation != 1 else []
        attributes.append("pad=same" if any(_integers(node, "pads")) else "pad=valid")
    axis = next((int(a.i) for a in node.attribute if a.name == "axis"), None)
    return (*attributes, *([] if axis is None else [f"axis={axis}"]))
