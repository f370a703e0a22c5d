"""What a family's name says: which families do the same work, and how large an operator of it is.

A table is asked for operators of other exporters than those whose networks were measured: TensorFlow pads a
stride-2 convolution inside of it and clips at 6, PyTorch pads with an operator of its own and does not clip.
The convolution's kernel reads, multiplies and writes the same either way. Such families share one key here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from amc_hw.latency.operators import MATMUL_KINDS

_FAMILY = re.compile(
    r"[A-Z][A-Z0-9_]{0,60} (?:scalar|(?:[0-9]{1,9}x){0,8}C)(?:,(?:scalar|(?:[0-9]{1,9}x){0,8}C)){0,999}"
    r"(?: [a-z_]{1,20}(?:=[a-z0-9_.-]{1,20})?){0,20}"
)
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_CLIPS = frozenset({"act=relu", "act=relu6", "act=relu_n1_to_1"})
"""Activations that kernels apply as a clip of the result, which they do anyway."""


@dataclass(frozen=True)
class Sizes:
    """How large an operator is: multiply-accumulates, and values read, written and kept as weights."""

    macs: int
    inputs: int
    outputs: int
    weights: int

    def features(self) -> tuple[int, int, int, int]:
        """Return the four numbers in a fixed order."""
        return (self.macs, self.inputs, self.outputs, self.weights)


def is_family(text: str) -> bool:
    """Tell whether a text can be an `amc_hw.latency.operators.Operator.family`."""
    return _FAMILY.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def work_of(family: str) -> str:
    """Return the key that families share whose kernels do the same work, channel counts aside.

    - A convolution is known by the size of its output, filter, stride and dilation. Where the padding comes
      from (SAME, or a PAD before it, which has its own time where the runtime does not fuse it) and whether the
      result is clipped do not matter to the kernel.
    - A fully connected layer is a 1x1 convolution of one position.
    - A mean over all positions is an average pooling with a window of the whole map.
    """
    kind, shapes, attributes = _parts(family)
    if kind in _CONVOLUTIONS:
        kept = [a for a in attributes if not a.startswith("pad=") and a not in _CLIPS]
        return " ".join([kind, shapes[-1], *kept])
    if kind == "FULLY_CONNECTED" and len(shapes) == 2 and all(re.fullmatch(r"[0-9]+xC", s) for s in shapes):
        kept = [a for a in attributes if a not in _CLIPS]
        return " ".join(["CONV_2D", shapes[-1].replace("xC", "x1x1xC"), "k=1x1", "s=1", *kept])
    if kind in ("MEAN", "AVERAGE_POOL_2D") and len(shapes) == 2 and _positions(shapes[-1]) == _batch(shapes[0]):
        return f"GLOBAL_POOL {shapes[0]}"
    return family


@lru_cache(maxsize=4096)
def kind_of(family: str) -> str:
    """Return the kind of work, under which operators of any shape are alike: ``CONV_2D``, ``GLOBAL_POOL`` ..."""
    work = work_of(family)
    kind = work.split(" ", 1)[0]
    return f"{kind} grouped" if work.endswith(" grouped") else kind


def sizes(family: str, c_in: int, c_out: int) -> Sizes:
    """Return how large the operator of ``family`` with these channels is.

    Where the operator has several inputs, each is taken to have ``c_in`` channels; a grouped convolution's
    name does not say how many groups it has, so its multiply-accumulates and weights read 0.
    """
    kind, shapes, attributes = _parts(work_of(family))
    named = dict(a.split("=", 1) for a in attributes if "=" in a)
    outputs = (_batch(shapes[0]) if kind == "GLOBAL_POOL" else _positions(shapes[-1])) * c_out
    window = math.prod(int(side) for side in re.findall(r"[0-9]+", named.get("k", "1")))
    if kind in _CONVOLUTIONS:
        stride = int(named["s"]) if named.get("s", "").isdigit() else 1
        inputs = _positions(shapes[-1]) * stride**2 * c_in
    else:
        inputs = sum(_positions(shape) * c_in for shape in (shapes[:-1] or shapes))
    if kind in MATMUL_KINDS:
        weights = 0 if "grouped" in attributes else window * c_in * c_out
        return Sizes(_positions(shapes[-1]) * weights, inputs, outputs, weights)
    if kind == "DEPTHWISE_CONV_2D":
        return Sizes(outputs * window, inputs, outputs, window * c_out)
    if named.get("k"):  # a pooling's window is square and named by its side
        return Sizes(outputs * window**2, inputs, outputs, 0)
    return Sizes(0, inputs, outputs, 0)


def _parts(family: str) -> tuple[str, list[str], list[str]]:
    kind, shapes, *attributes = family.split(" ")
    return kind, shapes.split(","), attributes


def _positions(shape: str) -> int:
    """Values for each channel."""
    return math.prod(int(size) for size in shape.split("x")[:-1]) if shape != "scalar" else 1


def _batch(shape: str) -> int:
    first = shape.split("x")[0]
    return int(first) if first.isdigit() else 1
