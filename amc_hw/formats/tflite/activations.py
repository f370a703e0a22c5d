"""The ranges of a TFLite file's activations on training images: what static quantization makes its scales of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amc_hw.formats.quiet import quiet
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.quantize.ranges import range_of

BATCH = 32


def activation_ranges(content: bytes, images: NDArray[np.float32]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Return the range of every floating-point activation of a file, as LiteRT's quantizer takes them.

    Constants are left out: given a range, the quantizer takes that of a whole weight instead of each channel's.

    Args:
        content: a float32 file.
        images: (N, C, H, W); where the file's batch size is fixed in it, a rest that fills no batch is left out.

    Returns:
        A tensor's name to its ``min`` and ``max``, each of the tensor's rank.
    """
    maps = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    seen: dict[str, list[NDArray[np.float32]]] = {}
    ranks: dict[str, int] = {}
    for tensors in _runs(content, maps):
        for name, value in tensors:
            ranks[name] = value.ndim
            rows = value.reshape(len(value), -1) if value.ndim else value.reshape(1, 1)
            seen.setdefault(name, []).append(np.stack([rows.min(1), rows.max(1)]))
    limits = {name: np.concatenate(parts, axis=1) for name, parts in seen.items()}
    return {name: _entry(*range_of(*each), (1,) * ranks[name]) for name, each in limits.items()}


def _entry(low: float, high: float, shape: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    return {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}


def _runs(content: bytes, maps: NDArray[np.float32]) -> Iterator[list[tuple[str, NDArray[np.float32]]]]:
    """Run images (N, H, W, C) and yield the file's tensors, batch by batch."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
        entry = interpreter.get_input_details()[0]
        batch = min(BATCH, len(maps))
        try:
            interpreter.resize_tensor_input(entry["index"], [batch, *maps.shape[1:]])
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError):  # a reshape inside says how many images there are
            batch = int(entry["shape"][0])
            interpreter.resize_tensor_input(entry["index"], [batch, *maps.shape[1:]])
            interpreter.allocate_tensors()
    graph = TfliteGraph(content)
    constant = {graph.name(tensor) for tensor in range(len(graph.shapes())) if graph.is_constant(tensor)}
    named = [
        each
        for each in interpreter.get_tensor_details()
        if each["dtype"] == np.float32 and each["name"] and each["name"] not in constant
    ]
    for start in range(0, len(maps) - batch + 1, batch):
        interpreter.set_tensor(entry["index"], maps[start : start + batch])
        with quiet():
            interpreter.invoke()
        yield [(each["name"], value) for each in named if (value := _value(interpreter, each["index"])) is not None]


def _value(interpreter: Any, tensor: int) -> NDArray[np.float32] | None:
    """Return a tensor's value; None where the runtime has none, because it fused what makes it."""
    try:
        value: NDArray[np.float32] = interpreter.get_tensor(tensor)
    except ValueError:
        return None
    return value if value.size else None
