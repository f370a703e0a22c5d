"""What XNNPACK has no integer kernel of, in operators that it has one of: an int8 file of them runs as one part.

Between two parts LiteRT's own kernels run, which take longer than all that they stand between: MobileNetV3 was slower
in int8 than in float32. Here a float32 file gets other operators for the same numbers, before it is quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from amc_hw.formats.tflite.graph import packed, unpacked


def in_one_part(content: bytes) -> bytes:
    """Return a float32 file that computes the same without operators that split its int8 version; maybe as it is."""
    present = _kinds(content)
    wanted = {kind: rewrite for kind, rewrite in _REWRITES.items() if kind in present}
    return _Rewriting(content).by(wanted) if wanted else content


def slopes_of_integers(content: bytes) -> bytes:
    """Return an int8 file whose LEAKY_RELUs read and give int8: LiteRT's quantizer knows none, its runtime does."""
    return _Rewriting(content).with_slopes_of_integers() if "LEAKY_RELU" in _kinds(content) else content


def _kinds(content: bytes) -> set[str]:
    """Return the kinds of operators that a file has."""
    model = schema.Model.GetRootAs(content, 0)
    codes = (model.OperatorCodes(number) for number in range(model.OperatorCodesLength()))
    numbers = {max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes}
    return {name for name, number in vars(schema.BuiltinOperator).items() if number in numbers}


def _number(kind: str) -> int:
    return int(getattr(schema.BuiltinOperator, kind))


class _Rewriting:
    """A file of which operators are replaced.

    Args:
        content: the file's bytes.
    """

    def __init__(self, content: bytes) -> None:
        self.model = unpacked(content)
        self.graph = self.model.subgraphs[0]
        self._operators: list[Any] = []

    def by(self, wanted: Mapping[str, Callable[[_Rewriting, Any], bool]]) -> bytes:
        """Return the file with every operator replaced that its kind's function replaces."""
        rewrites = {_number(kind): rewrite for kind, rewrite in wanted.items()}
        for operator in self.graph.operators:
            rewrite = rewrites.get(self._kind_of(operator))
            if rewrite is None or not rewrite(self, operator):
                self._operators.append(operator)
        self.graph.operators = self._operators
        return packed(self.model)

    def with_slopes_of_integers(self) -> bytes:
        """Return the file without a DEQUANTIZE before and a QUANTIZE behind operators that have both for themselves."""
        kinds = {kind: _number(kind) for kind in ("DEQUANTIZE", "LEAKY_RELU", "QUANTIZE")}
        made = {int(each.outputs[0]): each for each in self.graph.operators if len(each.outputs)}
        readers: dict[int, list[Any]] = {int(tensor): [None] for tensor in self.graph.outputs}
        for each in self.graph.operators:
            for tensor in each.inputs:
                readers.setdefault(int(tensor), []).append(each)
        gone: list[Any] = []
        for slope in self.graph.operators:
            if self._kind_of(slope) != kinds["LEAKY_RELU"]:
                continue
            before, behind = made.get(int(slope.inputs[0])), readers.get(int(slope.outputs[0]), [])
            if before is None or self._kind_of(before) != kinds["DEQUANTIZE"]:
                continue
            if len(behind) != 1 or behind[0] is None or self._kind_of(behind[0]) != kinds["QUANTIZE"]:
                continue
            gone += [behind[0], *([before] if len(readers[int(slope.inputs[0])]) == 1 else [])]
            slope.inputs, slope.outputs = before.inputs, behind[0].outputs
            self.model.operatorCodes[slope.opcodeIndex].version = 2  # the first one of integers
        self._operators = [each for each in self.graph.operators if not any(each is other for other in gone)]
        self.graph.operators = self._operators
        return packed(self.model)

    def _kind_of(self, operator: Any) -> int:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def add(self, kind: str, inputs: list[int], output: int, activation: str = "NONE", **options: Any) -> None:
        """Append an operator (``ADD``, ``DEPTHWISE_CONV_2D``)."""
        name = "".join(part.capitalize() if part != "2D" else part for part in kind.split("_")) + "Options"
        operator, wanted = schema.OperatorT(), getattr(schema, f"{name}T")()
        wanted.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)
        for option, value in options.items():
            setattr(wanted, option, value)
        operator.opcodeIndex = self._code(_number(kind))
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        operator.builtinOptions = wanted
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self._operators.append(operator)

    def between(self, output: int, name: str) -> int:
        """Return the number of a new tensor of an output's shape, which is called after it."""
        like, tensor = self.graph.tensors[output], schema.TensorT()
        tensor.shape, tensor.shapeSignature, tensor.hasRank = like.shape, like.shapeSignature, like.hasRank
        tensor.type, tensor.buffer = like.type, 0
        return self._numbered(tensor, output, name)

    def constant(self, values: NDArray[np.float32], output: int, name: str) -> int:
        """Return the number of a new tensor of constants, which is called after an output."""
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.shape, tensor.hasRank = np.array(values.shape, np.int32), True
        tensor.type, tensor.buffer = schema.TensorType.FLOAT32, len(self.model.buffers) - 1
        return self._numbered(tensor, output, name)

    def number(self, value: float, output: int, name: str) -> int:
        """Return the number of a new tensor of one constant."""
        return self.constant(np.full(1, value, np.float32), output, name)

    def _numbered(self, tensor: Any, output: int, name: str) -> int:
        tensor.name = self.graph.tensors[output].name + f"/{name}".encode()
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _code(self, kind: int) -> int:
        codes = self.model.operatorCodes
        for place, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == kind:
                return place
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
        codes.append(code)
        return len(codes) - 1


def _hard_swish(file: _Rewriting, operator: Any) -> bool:
    """x relu6(x + 3) / 6: the last product only changes what a step is worth, and rounds nothing."""
    (x,), (y,) = operator.inputs, operator.outputs
    gate, product = file.between(y, "gate"), file.between(y, "product")
    file.add("ADD", [x, file.number(3, y, "three")], gate, "RELU6")
    file.add("MUL", [x, gate], product)
    file.add("MUL", [product, file.number(1 / 6, y, "sixth")], y)
    return True


def _relu(kind: str) -> Callable[[_Rewriting, Any], bool]:
    """A product with 1 that ends with an activation, as a layer does."""

    def rewrite(file: _Rewriting, operator: Any) -> bool:
        (x,), (y,) = operator.inputs, operator.outputs
        file.add("MUL", [x, file.number(1, y, "one")], y, kind)
        return True

    return rewrite


def _average_pool(file: _Rewriting, operator: Any) -> bool:
    """A depthwise convolution whose weights are all alike, where every window has as many values."""
    options, (x,), (y,) = operator.builtinOptions, operator.inputs, operator.outputs
    if options.padding != schema.Padding.VALID or options.fusedActivationFunction:
        return False
    height, width, channels = options.filterHeight, options.filterWidth, int(file.graph.tensors[x].shape[3])
    weights = np.full((1, height, width, channels), 1 / (height * width), np.float32)
    operands = [x, file.constant(weights, y, "weights"), file.constant(np.zeros(channels, np.float32), y, "bias")]
    strides = {"strideH": options.strideH, "strideW": options.strideW}
    file.add("DEPTHWISE_CONV_2D", operands, y, padding=options.padding, depthMultiplier=1, **strides)
    return True


_REWRITES: dict[str, Callable[[_Rewriting, Any], bool]] = {
    "HARD_SWISH": _hard_swish,
    "RELU": _relu("RELU"),
    "RELU6": _relu("RELU6"),
    "AVERAGE_POOL_2D": _average_pool,
}
