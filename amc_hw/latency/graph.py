"""A TFLite graph whose shapes are functions of the channel counts.

The operators that the device will run are not guessed from the PyTorch model: the real converter is run
on the original network and once more on a pruned one whose channel counts are all different, and every
shape (and every integer constant, such as a reshape's target) that changed between the two is recognised
as a function of the channel counts. The template then answers, in milliseconds and without the converter,
which operators any policy has, and writes a TFLite file of them with random weights to measure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from numpy.typing import NDArray

from amc_hw.errors import UnsupportedModelError
from amc_hw.latency.operators import MATMUL_KINDS, Operator, Shape
from amc_hw.policy import Dimension, Policy

_KINDS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
_FILTER_KINDS = MATMUL_KINDS | {"DEPTHWISE_CONV_2D"}
_ACTIVATIONS = {code: name for name, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int)}
_DTYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
}


class TfliteGraph:
    """One TFLite file, read into its object form.

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: the file is no TFLite model, or has more than one subgraph.
    """

    def __init__(self, content: bytes) -> None:
        if content[4:8] != b"TFL3":
            raise UnsupportedModelError("this is not a TFLite file (its identifier TFL3 is missing).")
        self.model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
        if len(self.model.subgraphs) != 1:
            raise UnsupportedModelError("the TFLite file has control flow (several subgraphs); export one without.")
        self.subgraph = self.model.subgraphs[0]

        codes = [self.model.operatorCodes[operator.opcodeIndex] for operator in self.subgraph.operators]
        self.kinds = [_KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes]

    def shapes(self) -> list[Shape]:
        """Shape of every tensor."""
        return [tuple(int(size) for size in _values(tensor.shape)) for tensor in self.subgraph.tensors]

    def constant(self, tensor: int) -> NDArray[Any] | None:
        """Value of a constant tensor (flat), or None for an activation."""
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
        """Value of a constant integer tensor (a reshape's target, paddings, axes), or None for every other."""
        value = self.constant(tensor)
        if value is None or value.dtype not in (np.int32, np.int64):
            return None
        return tuple(int(number) for number in value)

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

    def operators(self, shapes: Sequence[Shape] | None = None) -> list[Operator]:
        """Every operator in the order of execution, with its own shapes or with those given for each tensor."""
        shapes = shapes or self.shapes()
        return [self.operator(index, shapes) for index in range(len(self.subgraph.operators))]


class GraphTemplate:
    """A TFLite graph as a function of the policy.

    Args:
        original: the exported original network.
        original_policy: its channels, all groups.
        variants: exported pruned networks with their policies; together they must tell every two sizes that
            can change apart.
        dimensions: every size that is expected to change (channels of groups, of concatenations).

    Raises:
        UnsupportedModelError: the graphs do not have the same operators, or a size changed in a way that is
            no function of the channel counts.
    """

    def __init__(
        self,
        original: bytes,
        original_policy: Policy,
        variants: Sequence[tuple[bytes, Policy]],
        dimensions: Sequence[Dimension],
    ) -> None:
        self.graph = TfliteGraph(original)
        others = [TfliteGraph(content) for content, _ in variants]
        if any(other.kinds != self.graph.kinds for other in others):
            raise UnsupportedModelError(
                "the exported graph changes its operators when channels are pruned, so its latency cannot be tabled."
            )
        policies = [original_policy, *(policy for _, policy in variants)]
        self._known = {tuple(map(dimension.at, policies)): dimension for dimension in dimensions}
        self._base_shapes = self.graph.shapes()
        shapes = [self._base_shapes, *(other.shapes() for other in others)]
        self._sizes: dict[int, dict[int, Dimension]] = {}
        self._constants: dict[int, dict[int, Dimension]] = {}
        for twins in _same_tensors([self.graph, *others]):
            tensor = twins[0]
            name = str(self.graph.subgraph.tensors[tensor].name.decode(errors="replace"))
            changed = self._changes([shapes[i][twin] for i, twin in enumerate(twins)], name)
            if changed:
                self._sizes[tensor] = changed
            values = [graph.integers(twin) for graph, twin in zip([self.graph, *others], twins, strict=True)]
            changed = self._changes([value for value in values if value is not None], name)
            if changed:
                self._constants[tensor] = changed

    def _changes(self, versions: Sequence[Shape], name: str) -> dict[int, Dimension]:
        """Recognise every number that differs between the versions as a function of the channel counts."""
        if len({len(version) for version in versions}) > 1:
            raise UnsupportedModelError(f"tensor '{name}' changes its rank when channels are pruned.")
        return {
            position: self._recognise(numbers, name)
            for position, numbers in enumerate(zip(*versions, strict=True))
            if len(set(numbers)) > 1
        }

    def _recognise(self, numbers: tuple[int, ...], name: str) -> Dimension:
        if numbers in self._known:
            return self._known[numbers]
        for known, dimension in self._known.items():
            factor = numbers[0] // known[0]
            if factor > 1 and numbers == tuple(factor * size for size in known):
                # a flattened map: height x width values for a channel
                return dimension.scaled(factor)
        for known, dimension in self._known.items():
            rest = numbers[0] - known[0]
            if numbers == tuple(size + rest for size in known):  # joined with channels that stay
                return dimension.plus(rest)
        raise UnsupportedModelError(
            f"the size {numbers[0]} of tensor '{name}' became {numbers[1]} in a pruned network, "
            "which is no channel count."
        )

    def shapes(self, policy: Policy) -> list[Shape]:
        """Shape of every tensor under ``policy``."""
        shapes = list(self._base_shapes)
        for tensor, sizes in self._sizes.items():
            shapes[tensor] = _replaced(shapes[tensor], sizes, policy)
        return shapes

    def operators(self, policy: Policy) -> list[Operator]:
        """Every operator that the network has under ``policy``, in the order of execution."""
        return self.graph.operators(self.shapes(policy))

    def operator(self, index: int, policy: Policy) -> Operator:
        """The operator at ``index`` under a policy that names at least the groups it depends on."""
        entry = self.graph.subgraph.operators[index]
        shapes = {
            tensor: _replaced(self._base_shapes[tensor], self._sizes.get(tensor, {}), policy)
            for tensor in map(int, (*entry.inputs, *entry.outputs))
            if tensor >= 0
        }
        return self.graph.operator(index, shapes)

    def groups_of(self, operator: int) -> tuple[str, ...]:
        """Channel groups that the operator at index ``operator`` depends on, in a fixed order."""
        entry = self.graph.subgraph.operators[operator]
        groups: dict[str, None] = {}
        for tensor in (*entry.inputs, *entry.outputs):
            for dimension in self._sizes.get(int(tensor), {}).values():
                groups.update(dict.fromkeys(dimension.groups))
        return tuple(groups)

    def file(self, policy: Policy, random: np.random.Generator) -> bytes:
        """Write a TFLite file of the network under ``policy``; weights whose shape changed are random.

        The random weights keep the activations' scale (He et al. 2015), so that no denormal numbers slow the run.
        """
        model, subgraph = self.graph.model, self.graph.subgraph
        saved_shapes = [tensor.shape for tensor in subgraph.tensors]
        saved_data = [buffer.data for buffer in model.buffers]
        pool = random.standard_normal(1 << 16, dtype=np.float32)
        try:
            for index, shape in enumerate(self.shapes(policy)):
                tensor = subgraph.tensors[index]
                if index in self._sizes:
                    tensor.shape = np.asarray(shape, np.int32)
                    if self.graph.constant(index) is not None:
                        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 2e4
                        values = np.resize(pool * np.float32(math.sqrt(2 / fan_in)), math.prod(shape))
                        model.buffers[tensor.buffer].data = values.view(np.uint8)
                if index in self._constants:
                    values = np.array(_values(self.graph.constant(index)))
                    for position, dimension in self._constants[index].items():
                        values[position] = dimension.at(policy)
                    model.buffers[tensor.buffer].data = values.view(np.uint8)
            builder = Builder(1 << 20)
            builder.Finish(model.Pack(builder), b"TFL3")
            return bytes(builder.Output())
        finally:
            for tensor, shape in zip(subgraph.tensors, saved_shapes, strict=True):
                tensor.shape = shape
            for buffer, data in zip(model.buffers, saved_data, strict=True):
                buffer.data = data


def _same_tensors(graphs: Sequence[TfliteGraph]) -> set[tuple[int, ...]]:
    """Match the tensors of graphs with the same operators by where they are used; their order may differ."""
    twins: set[tuple[int, ...]] = set()
    for operators in zip(*(graph.subgraph.operators for graph in graphs), strict=True):
        for side in ("inputs", "outputs"):
            twins.update(zip(*([int(t) for t in getattr(o, side)] for o in operators), strict=True))
    return {same for same in twins if min(same) >= 0}


def _values(array: Any) -> Any:
    return () if array is None else array


def _replaced(shape: Shape, sizes: dict[int, Dimension], policy: Policy) -> Shape:
    return tuple(sizes[axis].at(policy) if axis in sizes else size for axis, size in enumerate(shape))


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
