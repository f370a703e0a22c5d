"""The ranges of a TFLite file's activations on training images: what static quantization makes its scales of."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.batches import Arrays, whole_batches
from amc_hw.formats.quiet import quiet
from amc_hw.formats.scales import of_one_scale, tail_of
from amc_hw.formats.tflite.convert import placed
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.formats.tflite.signature import in_order
from amc_hw.quantize.ranges import Extremes

_ENDLESS = 1e30
"""A number stands for infinity from there on: converters write float32's least one for some, that of masks."""
_DEAD = 1e-9
"""A range is as good as empty under this width, the quantizer's least."""
_MINUS_INFINITY = np.float32(-np.inf).tobytes()
JOINED = frozenset({"CONCATENATION", "PACK"})
LAYERS = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_3D",
        "TRANSPOSE_CONV",
        "CONV_3D_TRANSPOSE",
        "FULLY_CONNECTED",
        "BATCH_MATMUL",
    }
)
MOVED = frozenset(
    {
        *("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK", "SQUEEZE", "EXPAND_DIMS"),
        *("PAD", "PADV2", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", "GATHER"),
        *("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "BROADCAST_TO", "MIRROR_PAD"),
    }
)


def float_tail_of(graph: TfliteGraph) -> set[int]:
    """Return the operators at a float32 file's end that stay in float32 in whole-number files; see `float_tail`."""
    return tail_of(graph, JOINED, LAYERS)


def activation_ranges(
    content: bytes, graph: TfliteGraph, inputs: Arrays, tail: Collection[int] = ()
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Return the range of every floating-point activation of a file, as LiteRT's quantizer takes them.

    Constants are left out: given a range, the quantizer takes that of a whole weight instead of each channel's.

    Args:
        content: a float32 file.
        graph: of the same.
        inputs: each (N, ...), images (N, C, H, W); a rest that fills no batch of the file's size is left out, fewer
            than one are repeated.
        tail: operators that stay in float32.

    Returns:
        A tensor's name to its ``min`` and ``max``, each of the tensor's rank.

    Raises:
        UnsupportedModelError: an activation or a constant is infinite, which no scale reaches to: LiteRT would end the
            process that loads such a file.
    """
    seen, ranks = Extremes(graph.batch), dict[str, int]()
    paddings = paddings_of_maxima(graph)
    padded = {graph.name(each.padded): graph.name(each.given) for each in paddings}
    for tensors in values_of(content, graph, inputs):
        for name, value in tensors:
            ranks[name] = value.ndim
            if name not in padded:
                seen.see(name, value)
    together = of_one_scale(graph, JOINED, MOVED, tail)
    ranges = seen.ranges(together)
    _widen_dead(graph, ranges, together)
    for name, given in padded.items():
        ranges[name] = ranges[given]
    endless = [name for name, ends in ranges.items() if _is_endless(np.asarray(ends))]
    endless += _infinite_constants(graph, {each.value for each in paddings})
    if endless:
        raise UnsupportedModelError(f"the numbers of '{endless[0]}' are infinite")
    return {name: range_entry(*ranges[name], (1,) * rank) for name, rank in ranks.items()}


def _widen_dead(
    graph: TfliteGraph, ranges: dict[str, tuple[float, float]], together: Mapping[str, Sequence[str]]
) -> None:
    """Give results that are always 0 a range by what they are made of: of products the product, else the widest.

    The quantizer would give them a scale near 0, which XNNPACK cannot scale a sum to; then the file does not load.
    """
    for index, kind in enumerate(graph.kinds):
        made = graph.outputs_of(index)
        read = [
            _width(graph, tensor, ranges) for tensor in graph.tensors_of(index) if tensor >= 0 and tensor not in made
        ]
        widths = [width for width in read if width is not None]
        width = math.prod(widths) if kind == "MUL" else max(widths, default=0.0)
        for name in map(graph.name, made):
            low, high = ranges.get(name, (0.0, width))
            if high - low < _DEAD <= width:
                ranges.update(dict.fromkeys((name, *together.get(name, ())), (min(low, 0.0), max(high, 0.0) + width)))


def _width(graph: TfliteGraph, tensor: int, ranges: Mapping[str, tuple[float, float]]) -> float | None:
    """Return the width of an activation's range, or the largest of a product's constants; None of other operands."""
    if (known := ranges.get(graph.name(tensor))) is not None:
        return known[1] - known[0]
    value = graph.constant(tensor)
    is_number = value is not None and value.dtype.kind == "f" and value.size == 1
    return float(np.abs(value).max()) if is_number and value is not None else None


def _infinite_constants(graph: TfliteGraph, known: Set[int]) -> list[str]:
    """Return the names of constants that hold an infinite number, but for those that are known."""
    values = ((tensor, graph.constant(tensor)) for tensor in range(len(graph.shapes())) if tensor not in known)
    return [
        graph.name(tensor)
        for tensor, value in values
        if value is not None and value.dtype.kind == "f" and _is_endless(value)
    ]


def _is_endless(values: NDArray[Any]) -> bool:
    return not bool((np.abs(values) < _ENDLESS).all())


@dataclass(frozen=True)
class Padding:
    """An operator that pads: the numbers of the tensors that it is given, writes, and pads with."""

    given: int
    padded: int
    value: int


def paddings_of_maxima(graph: TfliteGraph) -> list[Padding]:
    """Return what pads by minus infinity and is read by nothing but a maximum, which never takes such a value.

    Converters pad so for ``nn.MaxPool2d(3, 2, 1)``. Minus infinity anywhere else means something.
    """
    readers: dict[int, set[str]] = {}
    for index, kind in enumerate(graph.kinds):
        for tensor in set(graph.tensors_of(index)) - set(graph.outputs_of(index)):
            readers.setdefault(tensor, set()).add(kind)
    found = []
    for index, kind in enumerate(graph.kinds):
        if kind != "PADV2":
            continue
        given, _, value, padded = graph.tensors_of(index)
        number = graph.constant(value)
        is_infinite = number is not None and number.dtype == np.float32 and bool(np.isneginf(number).all())
        if is_infinite and readers.get(padded) == {"MAX_POOL_2D"} and padded not in graph.subgraph.outputs:
            found.append(Padding(given, padded, value))
    return found


def with_finite_padding(
    content: bytes, graph: TfliteGraph, ranges: Mapping[str, Mapping[str, NDArray[np.float32]]]
) -> bytes:
    """Return a float32 file that pads for maxima by the least number of a range instead of by minus infinity.

    No scale reaches to infinity; in whole numbers the least one does the same, because nothing is below it.

    Args:
        content: a float32 file.
        graph: of the same.
        ranges: of its activations; see `activation_ranges`.
    """
    if _MINUS_INFINITY not in content:
        return content
    values = {
        each.value: np.full(graph.shapes()[each.value], ranges[graph.name(each.given)]["min"].flat[0], np.float32)
        for each in paddings_of_maxima(graph)
    }
    return graph.packed({}, {}, values) if values else content


def range_entry(low: float, high: float, shape: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    """Return a range as LiteRT's quantizer takes it, of a tensor's rank."""
    return {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}


def values_of(content: bytes, graph: TfliteGraph, inputs: Arrays) -> Iterator[list[tuple[str, NDArray[np.float32]]]]:
    """Run inputs, images (N, C, H, W), in batches of the file's own size, and yield its activations.

    A larger batch would be faster, but a slice or a reshape in the file may say how many images there are, and then
    silently take the first ones.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`", UserWarning)
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    entries, _ = in_order(interpreter, content)
    constant = {graph.name(tensor) for tensor in range(len(graph.shapes())) if graph.is_constant(tensor)}
    named = [
        each
        for each in interpreter.get_tensor_details()
        if each["dtype"] == np.float32 and each["name"] and each["name"] not in constant
    ]
    for part in whole_batches(inputs, graph.batch):
        for entry, values in zip(entries, part, strict=True):
            interpreter.set_tensor(entry["index"], placed(values, entry))
        interpreter.invoke()
        yield [(each["name"], value) for each in named if (value := _value(interpreter, each["index"])) is not None]


def _value(interpreter: Any, tensor: int) -> NDArray[np.float32] | None:
    """Return a tensor's value; None where the runtime has none, because it fused what makes it."""
    try:
        value: NDArray[np.float32] = interpreter.get_tensor(tensor)
    except ValueError:
        return None
    return value if value.size else None
