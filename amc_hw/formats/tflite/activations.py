"""The ranges of a TFLite file's activations on training images: what static quantization makes its scales of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amc_hw.formats.batches import channels_last, whole_batches
from amc_hw.formats.quiet import quiet
from amc_hw.formats.scales import of_one_scale
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.quantize.ranges import Extremes

JOINED = frozenset({"CONCATENATION", "PACK"})
MOVED = frozenset(
    {
        *("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK", "SQUEEZE", "EXPAND_DIMS"),
        *("PAD", "PADV2", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", "GATHER"),
        *("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "BROADCAST_TO", "MIRROR_PAD"),
    }
)


def activation_ranges(content: bytes, images: NDArray[np.float32]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Return the range of every floating-point activation of a file, as LiteRT's quantizer takes them.

    Constants are left out: given a range, the quantizer takes that of a whole weight instead of each channel's.

    Args:
        content: a float32 file.
        images: (N, C, H, W); a rest that fills no batch of the file's size is left out, fewer than one are repeated.

    Returns:
        A tensor's name to its ``min`` and ``max``, each of the tensor's rank.
    """
    maps = channels_last(images)
    graph = TfliteGraph(content)
    seen, ranks = Extremes(graph.batch), dict[str, int]()
    for tensors in values_of(content, graph, maps):
        for name, value in tensors:
            ranks[name] = value.ndim
            seen.see(name, value)
    ranges = seen.ranges(of_one_scale(graph, JOINED, MOVED))
    return {name: range_entry(*ranges[name], (1,) * rank) for name, rank in ranks.items()}


def with_finite_padding(content: bytes, ranges: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> bytes:
    """Return a float32 file that pads by the least number of an activation's range instead of by minus infinity.

    Converters pad so before a largest value is taken (``nn.MaxPool2d(3, 2, 1)``). No scale reaches to infinity; in
    whole numbers the least one does the same, because nothing is below it.

    Args:
        content: a float32 file.
        ranges: of its activations; see `activation_ranges`.
    """
    graph = TfliteGraph(content)
    values: dict[int, NDArray[np.float32]] = {}
    for index, kind in enumerate(graph.kinds):
        if kind != "PADV2":
            continue
        activation, _, padding, *_ = graph.tensors_of(index)
        value = graph.constant(padding)
        if value is not None and value.dtype == np.float32 and bool(np.isneginf(value).all()):
            values[padding] = np.full(value.shape, ranges[graph.name(activation)]["min"].flat[0], np.float32)
    return graph.packed({}, {}, values) if values else content


def range_entry(low: float, high: float, shape: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    """Return a range as LiteRT's quantizer takes it, of a tensor's rank."""
    return {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}


def values_of(
    content: bytes, graph: TfliteGraph, maps: NDArray[np.float32]
) -> Iterator[list[tuple[str, NDArray[np.float32]]]]:
    """Run images (N, H, W, C) in batches of the file's own size, and yield its activations.

    A larger batch would be faster, but a slice or a reshape in the file may say how many images there are, and then
    silently take the first ones.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`", UserWarning)
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    constant = {graph.name(tensor) for tensor in range(len(graph.shapes())) if graph.is_constant(tensor)}
    named = [
        each
        for each in interpreter.get_tensor_details()
        if each["dtype"] == np.float32 and each["name"] and each["name"] not in constant
    ]
    for part in whole_batches(maps, graph.batch):
        interpreter.set_tensor(entry["index"], part)
        interpreter.invoke()
        yield [(each["name"], value) for each in named if (value := _value(interpreter, each["index"])) is not None]


def _value(interpreter: Any, tensor: int) -> NDArray[np.float32] | None:
    """Return a tensor's value; None where the runtime has none, because it fused what makes it."""
    try:
        value: NDArray[np.float32] = interpreter.get_tensor(tensor)
    except ValueError:
        return None
    return value if value.size else None
