"""An operator as a device runs it: what it is, its sizes, and the key under which its latency is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, ...]

# Operators whose filter mixes every input channel into every output channel.
MATMUL_KINDS = frozenset({"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


@dataclass(frozen=True)
class Operator:
    """One operator with all its shapes.

    Attributes:
        kind: the runtime's name, for example ``CONV_2D``.
        attributes: what else decides the kernel (filter size, stride, padding, activation), as ``name=value``.
        inputs: shapes of the activations that come in, channels last.
        outputs: shapes of the activations that go out.
        fan_in: filter values that one output value depends on (0 without a filter).
    """

    kind: str
    attributes: tuple[str, ...]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    fan_in: int = 0

    @property
    def c_in(self) -> int:
        """Channels (the last axis) of the first input."""
        return self.inputs[0][-1] if self.inputs and self.inputs[0] else 1

    @property
    def c_out(self) -> int:
        """Channels (the last axis) of the first output."""
        return self.outputs[0][-1] if self.outputs and self.outputs[0] else 1

    @property
    def family(self) -> str:
        """Everything but the channel counts: operators of one family share one latency surface."""
        shapes = [
            "x".join([*map(str, shape[:-1]), "C"]) if shape else "scalar" for shape in (*self.inputs, *self.outputs)
        ]
        grouped: tuple[str, ...] = ()
        if self.kind in MATMUL_KINDS and self.inputs and self.fan_in % self.c_in:
            grouped = ("grouped",)
        return " ".join([self.kind, ",".join(shapes), *self.attributes, *grouped])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the filter; 0 for operators without one."""
        return self.fan_in * math.prod(self.outputs[0]) if self.fan_in else 0


def channels_last(shape: Shape) -> Shape:
    """Return the shape (N, H, W, C) of a tensor whose shape is (N, C, H, W); fewer axes stay as they are."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape
