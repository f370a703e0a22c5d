"""What an aten file holds: a graph, and weights in the precision that it computes in.

profilers/aten_network.py defines the format.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.batches import Arrays
from amc_hw.policy import DTYPES, Precision

HALVES: dict[str, torch.dtype] = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""What a file's weights can be rounded to, by the file's word for it."""


class CallRecord(TypedDict):
    """One call of a file: its result's name, ``aten.relu.default``, and its arguments, a tensor as {"tensor": name}."""

    name: str
    op: str
    args: list[Any]


class GraphRecord(TypedDict):
    """What a file says of its network: what it computes in, its calls in order, and every tensor's shape by name."""

    format: int
    dtype: str
    input: str
    output: str
    shapes: dict[str, Sequence[int]]
    weights: list[str]
    calls: list[CallRecord]


def pack(graph: GraphRecord, weights: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of an aten file; floating-point weights are rounded to what the graph says it computes in.

    Args:
        graph: what the file says; it names the weights, too.
        weights: arrays by the names that the calls have for them.
    """
    content, half = io.BytesIO(), HALVES.get(graph["dtype"])
    arrays = {f"weight:{name}": _rounded(weight, half) for name, weight in weights.items()}
    arrays["graph"] = np.frombuffer(json.dumps(graph).encode(), np.uint8)
    np.savez(content, allow_pickle=False, **arrays)  # type: ignore[arg-type]  # names of arrays, not its options
    return content.getvalue()


def unpack(content: bytes) -> tuple[GraphRecord, dict[str, NDArray[Any]]]:
    """Return the graph of an aten file and its weights by name, those of 16 bits as the same numbers in float32.

    Raises:
        UnsupportedModelError: this is no such file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            graph: GraphRecord = json.loads(bytes(arrays["graph"]).decode())
            weights = {name: _whole(arrays[f"weight:{name}"]) for name in graph["weights"]}
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise UnsupportedModelError(f"this is not a file of ATen calls: {error}") from error
    graph.setdefault("dtype", "float32")  # files of format 1 are all of it
    return graph, weights


def rounded(content: bytes, precision: Precision, inputs: Arrays) -> bytes:
    """Return a float32 file in ``fp16`` or ``bf16``: weights and activations are of 16 bits.

    Args:
        content: the float32 file.
        precision: of the new one.
        inputs: of no use here; no ranges are needed.
    """
    graph, weights = unpack(content)
    return pack({**graph, "dtype": DTYPES[precision]}, weights)


def _rounded(weight: NDArray[Any], half: torch.dtype | None) -> NDArray[Any]:
    if half is None or weight.dtype.kind != "f":
        return weight
    bits: NDArray[Any] = torch.tensor(weight).to(half).view(torch.int16).numpy()
    return bits.view(np.float16 if half is torch.float16 else np.uint16)


def _whole(stored: NDArray[Any]) -> NDArray[Any]:
    if stored.dtype == np.uint16:  # the upper half of a float32 is a bfloat16
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored
