"""The words that every part shares: a policy, a size that depends on it, and the channel counts to choose from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from amc_hw.errors import UsageError, unknown_name

Policy: TypeAlias = Mapping[str, int]
"""Channels kept for every channel group, in network order."""

LEAST_CHANNELS = 2
"""The fewest channels that a group is cut to. Converters write other operators for 1 channel (TFLite's a depthwise
convolution, reshapes for transposes), so that neither a prediction nor a measured file would be of what is exported."""

Metric: TypeAlias = Literal["latency_ms", "macs", "params", "size_bytes"]
"""What a budget counts; the unit is milliseconds, MACs, parameters or bytes of the exported file."""

TOP1 = "top-1"
"""What the accuracy of a network is called that tells classes apart."""
MEAN_AP = "mean average precision"
"""What a network is measured by that gives several labels to an image."""

Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8", "int8-dynamic", "int16x8"]
"""In what a network is written and computed: ``int8`` has scales from calibration images, ``int8-dynamic`` finds those
of activations while it runs, ``int16x8`` has activations of 16 bits and weights of 8."""
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "tflite": ("fp32", "fp16", "int8", "int8-dynamic", "int16x8"),
    "onnx": ("fp32", "int8"),
    "pte": ("fp32", "int8"),
    "aten": ("fp32", "fp16", "bf16"),
}
"""Of the files of each format, and of the devices that run them."""
PrecisionSetting: TypeAlias = Literal["auto", Precision]
"""A precision, or the one that keeps most accuracy within the budget."""
DTYPES: dict[Precision, str] = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "int8": "int8",
    "int8-dynamic": "int8-dynamic",
    "int16x8": "int16x8",
}
"""What tables call the precisions."""
TF32 = "tfloat32"
"""What tables of GPUs call files of fp32 whose products are of inputs rounded to 10 bits behind the point."""


Io: TypeAlias = Literal["float32", "int8"]
"""The type of what a file takes and gives."""


def require_io(precision: Precision, io: Io) -> None:
    """Raise UsageError where files of a precision do not take and give numbers of a type."""
    if io == "int8" and precision != "int8":
        raise UsageError(
            f"io=int8 is of files in which everything is int8, not of {precision}; give precision=int8, or leave io= "
            "out: float32 goes in and out then."
        )


def as_precision(name: str) -> Precision:
    """Return the precision of that name; raise UsageError with the nearest where there is none."""
    if name not in DTYPES:
        raise unknown_name("precision", name, DTYPES, "precision")
    return name


def precision_of(dtype: str) -> Precision | None:
    """Return the precision of the files that a table is of; None where none are written so (``uint8``)."""
    if dtype == TF32:
        return "fp32"
    return next((precision for precision, called in DTYPES.items() if called == dtype), None)


@dataclass(frozen=True)
class Dimension:
    """A size that follows from a policy: ``constant`` + for every group its channels x its width.

    A concatenation has several groups; a flattened feature map has its height x width as width.
    """

    constant: int
    groups: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()

    def at(self, policy: Policy) -> int:
        """Return the size under ``policy``."""
        return self.constant + sum(policy[group] * width for group, width in zip(self.groups, self.widths, strict=True))

    def scaled(self, factor: int) -> Dimension:
        """Return the dimension ``factor`` times as large."""
        return Dimension(self.constant * factor, self.groups, tuple(width * factor for width in self.widths))

    def divided(self, parts: int) -> Dimension:
        """Return one of so many parts that are alike."""
        return Dimension(self.constant // parts, self.groups, tuple(width // parts for width in self.widths))

    def plus(self, constant: int) -> Dimension:
        """Return the dimension with ``constant`` positions more."""
        return Dimension(self.constant + constant, self.groups, self.widths)


def channel_choices(channels: int, multiple: int = 8, lower: float = 0.2) -> tuple[int, ...]:
    """Return the channel counts that a search may choose for a group, ascending; the last is ``channels``.

    Counts are multiples of ``multiple``, because that is what kernels are fast at; a group narrower than
    ``8 * multiple`` gets a finer grid (the largest power of two that still leaves about eight choices). One channel
    is offered only where the original has no more; see `LEAST_CHANNELS`.

    Args:
        channels: the group's channels in the original network.
        multiple: the coarsest grid.
        lower: the smallest keep ratio; the smallest choice is not below ``lower * channels``.
    """
    step = 1
    while step * 2 <= min(multiple, channels // 8):
        step *= 2
    smallest = max(LEAST_CHANNELS, math.ceil(lower * channels / step) * step, step)
    return (*range(min(smallest, channels), channels, step), channels)
