"""A TFLite file as a graph: its operators, and the same file with other channel counts."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from numpy.typing import NDArray

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.align import align
from amc_hw.formats.graph import Graph
from amc_hw.latency.operators import MATMUL_KINDS, Operator, Shape

_KINDS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
_FILTER_KINDS = MATMUL_KINDS | {"DEPTHWISE_CONV_2D"}
_ACTIVATIONS = {code: name for name, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int)}
_DTYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
}


class TfliteGraph(Graph):
    """One TFLite file, read into its object form, where every use of a constant has a tensor of its own.

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: the file is no TFLite model, or has more than one subgraph.
    """

    def __init__(self, content: bytes) -> None:
        if content[4:8] != b"TFL3":
            raise UnsupportedModelError("this is not a TFLite file (its identifier TFL3 is missing).")
        self.model = unpacked(content)
        if len(self.model.subgraphs) != 1:
            raise UnsupportedModelError("the TFLite file has control flow (several subgraphs); export one without.")
        self.subgraph = self.model.subgraphs[0]
        self._copies = self._give_every_use_its_own_constant()
        codes = [self.model.operatorCodes[operator.opcodeIndex] for operator in self.subgraph.operators]
        self._kinds = [_KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes]

    def _give_every_use_its_own_constant(self) -> dict[int, int]:
        """Split the constants that the converter stored once because they are equal here.

        Biases of an untrained network are equal, and so are begins and sizes of slices; with other channels they
        differ. Returns for every new tensor the one that it is a copy of.
        """
        tensors, buffers = self.subgraph.tensors, self.model.buffers
        used_tensors, used_buffers, copies = set[int](), set[int](), dict[int, int]()
        for operator in self.subgraph.operators:
            for place, stored in enumerate(map(int, operator.inputs)):
                if stored < 0 or not self.is_constant(stored):
                    continue
                own = stored
                if stored in used_tensors:
                    own = operator.inputs[place] = len(tensors)
                    tensors.append(copy.copy(tensors[stored]))
                    tensors[own].name = tensors[stored].name + b";%d" % own  # quantizers know tensors by their names
                    copies[own] = stored
                if tensors[own].buffer in used_buffers:
                    buffers.append(copy.copy(buffers[tensors[own].buffer]))
                    tensors[own].buffer = len(buffers) - 1
                used_tensors.add(own)
                used_buffers.add(tensors[own].buffer)
        return copies

    @property
    def batch(self) -> int:
        """Images for each run of the file."""
        return int(self.subgraph.tensors[int(self.subgraph.inputs[0])].shape[0])

    @property
    def kinds(self) -> Sequence[str]:
        """TFLite's name of every operator."""
        return self._kinds

    def shapes(self) -> list[Shape]:
        """Shape of every tensor."""
        return [tuple(int(size) for size in _values(tensor.shape)) for tensor in self.subgraph.tensors]

    def name(self, tensor: int) -> str:
        """The tensor's name for people."""
        return str(self.subgraph.tensors[tensor].name.decode(errors="replace"))

    def tensors_of(self, index: int) -> list[int]:
        """See `Graph.tensors_of`."""
        operator = self.subgraph.operators[index]
        return [int(tensor) for tensor in (*operator.inputs, *operator.outputs)]

    def outputs_of(self, index: int) -> list[int]:
        """See `Graph.outputs_of`."""
        return [int(tensor) for tensor in self.subgraph.operators[index].outputs]

    def constant(self, tensor: int) -> NDArray[Any] | None:
        """See `Graph.constant`."""
        entry = self.subgraph.tensors[tensor]
        data = self.model.buffers[entry.buffer].data
        if data is None or entry.type not in _DTYPES:
            return None
        value: NDArray[Any] = np.asarray(data, np.uint8).view(_DTYPES[entry.type])
        return value

    def is_constant(self, tensor: int) -> bool:
        """Tell whether a tensor's value is stored in the file."""
        return self.model.buffers[self.subgraph.tensors[tensor].buffer].data is not None

    def integers(self, tensor: int) -> Shape | None:
        """See `Graph.integers`; a quantized bias has a scale, and is a weight."""
        value = self.constant(tensor)
        if value is None or value.dtype not in (np.int32, np.int64) or self._has_scale(tensor):
            return None
        return tuple(int(number) for number in value)

    def float_kinds(self) -> list[str]:
        """TFLite's names of the operators that read floating-point activations, but for those that quantize them."""
        floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
        found: dict[str, None] = {}
        for index, kind in enumerate(self.kinds):
            inputs = [int(tensor) for tensor in self.subgraph.operators[index].inputs if tensor >= 0]
            reads = [self.subgraph.tensors[tensor].type for tensor in inputs if not self.is_constant(tensor)]
            if kind != "QUANTIZE" and any(each in floats for each in reads):
                found[kind] = None
        return list(found)

    def _has_scale(self, tensor: int) -> bool:
        parameters = self.subgraph.tensors[tensor].quantization
        return parameters is not None and len(_values(parameters.scale)) > 0

    def operator(self, index: int, shapes: Mapping[int, Shape] | Sequence[Shape]) -> Operator:
        """The operator at ``index`` when its tensors have the given shapes."""
        operator, kind = self.subgraph.operators[index], self.kinds[index]
        inputs = [int(tensor) for tensor in operator.inputs if tensor >= 0]
        filters = [shapes[t] for t in inputs if self.is_constant(t)] if kind in _FILTER_KINDS else []
        filter_shape = filters[0] if filters else ()
        return Operator(
            kind,
            _attributes(operator, kind, filter_shape),
            tuple(shapes[tensor] for tensor in inputs if not self.is_constant(tensor)),
            tuple(shapes[int(tensor)] for tensor in operator.outputs),
            _fan_in(kind, filter_shape),
        )

    def owners(self, kernels: Sequence[str]) -> list[int | None]:
        """See `Graph.owners`."""
        return align(self.operators(), kernels)

    def packed(
        self,
        shapes: Mapping[int, Shape],
        integers: Mapping[int, Shape],
        values: Mapping[int, NDArray[Any]],
        left_out: Collection[int] = (),
    ) -> bytes:
        """See `Graph.packed`."""
        tensors, buffers = self.subgraph.tensors, self.model.buffers
        saved_tensors, saved_data = [copy.copy(tensor) for tensor in tensors], [buffer.data for buffer in buffers]
        saved_operators, saved_outputs = self.subgraph.operators, self.subgraph.outputs
        try:
            for index, shape in shapes.items():
                tensors[index].shape = np.asarray(shape, np.int32)
                tensors[index].quantization = _quantization_of(tensors[index], shape)
            for index, value in values.items():
                buffers[tensors[index].buffer].data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            for index, numbers in integers.items():
                dtype = _DTYPES[tensors[index].type]
                buffers[tensors[index].buffer].data = np.asarray(numbers, dtype).view(np.uint8)
            self._store_shared_filters_once()
            self._set_depth_multipliers()
            self._leave_out(left_out)
            return packed(self.model)
        finally:
            self.subgraph.tensors = saved_tensors
            self.subgraph.operators, self.subgraph.outputs = saved_operators, saved_outputs
            for buffer, data in zip(buffers, saved_data, strict=True):
                buffer.data = data
            self._set_depth_multipliers()

    def _store_shared_filters_once(self) -> None:
        """A layer that is called twice has one filter, as the converter writes it; equal biases are a coincidence."""
        tensors = self.subgraph.tensors
        for own, stored in self._copies.items():
            one, other = tensors[own], tensors[stored]
            if len(_values(one.shape)) > 1 and tuple(one.shape) == tuple(other.shape):
                self.model.buffers[one.buffer].data = None
                one.buffer = other.buffer

    def _leave_out(self, indices: Collection[int]) -> None:
        """Take operators out of the file; who read their results reads what came into them from the others."""
        if not indices:
            return
        operators = self.subgraph.operators
        made = {int(tensor) for index in indices for tensor in operators[index].outputs}
        stands_for: dict[int, int] = {}
        for index in sorted(indices):
            outside = [int(t) for t in operators[index].inputs if t >= 0 and not self.is_constant(t) and t not in made]
            within = [stands_for[int(t)] for t in operators[index].inputs if int(t) in stands_for]
            for tensor in operators[index].outputs:
                stands_for[int(tensor)] = (outside or within)[0]
        kept = [copy.copy(operator) for index, operator in enumerate(operators) if index not in indices]
        for operator in kept:
            operator.inputs = np.asarray([stands_for.get(int(t), int(t)) for t in operator.inputs], np.int32)
        self.subgraph.operators = kept
        outputs = [stands_for.get(int(tensor), int(tensor)) for tensor in self.subgraph.outputs]
        self.subgraph.outputs = np.asarray(outputs, np.int32)

    def _set_depth_multipliers(self) -> None:
        """Let them agree with the shapes: a convolution of grey images is depthwise here, and else slow."""
        tensors = self.subgraph.tensors
        for kind, operator in zip(self.kinds, self.subgraph.operators, strict=True):
            if kind == "DEPTHWISE_CONV_2D":
                read, made = (int(tensors[index].shape[-1]) for index in (operator.inputs[0], operator.outputs[0]))
                operator.builtinOptions.depthMultiplier = made // read


def unpacked(content: bytes) -> schema.ModelT:
    """Return a TFLite file in its object form, all constants in its tables.

    Raises:
        UnsupportedModelError: the file is damaged.
    """
    try:
        model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    except Exception as error:  # offsets that lead nowhere make flatbuffers raise almost anything
        raise UnsupportedModelError(f"this TFLite file is damaged ({error}); export it again.") from error
    for buffer in model.buffers:  # LiteRT's quantizer writes large ones behind the tables
        if buffer.offset > 1:  # 0 and 1 stand for none
            if buffer.offset + buffer.size > len(content):
                raise UnsupportedModelError("this TFLite file is damaged (a buffer is cut off); export it again.")
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def packed(model: schema.ModelT) -> bytes:
    """Return a TFLite file from its object form."""
    builder = Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _values(array: Any) -> Any:
    return () if array is None else array


def _quantization_of(tensor: Any, shape: Shape) -> Any:
    """Return a constant's scales and zero points for another shape: one for each channel, or one for all."""
    parameters = tensor.quantization
    if parameters is None or len(_values(parameters.scale)) < 2:
        return parameters
    channels, resized = shape[parameters.quantizedDimension], copy.copy(parameters)
    resized.scale = np.resize(parameters.scale, channels)
    resized.zeroPoint = np.resize(parameters.zeroPoint, channels)
    return resized


def _fan_in(kind: str, filter_shape: Shape) -> int:
    """Filter values behind one output value; TFLite filters are (out, h, w, in) or (1, h, w, channels)."""
    if not filter_shape:
        return 0
    return math.prod(filter_shape[1:3] if kind == "DEPTHWISE_CONV_2D" else filter_shape[1:])


def _attributes(operator: Any, kind: str, filter_shape: Shape) -> tuple[str, ...]:
    """Options that decide which kernel runs; sizes and defaults are left out."""
    attributes = []
    if len(filter_shape) == 4:
        attributes.append(f"k={filter_shape[1]}x{filter_shape[2]}")
    options = operator.builtinOptions
    for name, short in (("strideH", "s"), ("dilationHFactor", "d"), ("filterHeight", "k"), ("axis", "axis")):
        value = getattr(options, name, None)
        if isinstance(value, (int, np.integer)) and not (short == "d" and value == 1):
            attributes.append(f"{short}={int(value)}")
    if getattr(options, "padding", None) is not None and kind.endswith("_2D"):
        attributes.append("pad=" + ("same" if options.padding == schema.Padding.SAME else "valid"))
    activation = _ACTIVATIONS.get(getattr(options, "fusedActivationFunction", 0) or 0, "NONE")
    if activation != "NONE":
        attributes.append(f"act={activation.lower()}")
    return tuple(attributes)
