"""Which kernel that a runtime reports belongs to which operator of the exported graph.

Runtimes run the operators in the graph's order, but fuse some into their neighbours (a PAD into the
convolution behind it) and name kernels in their own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from amc_hw.errors import DeviceError
from amc_hw.latency.operators import Operator

_KERNEL_NAMES = {
    "CONV_2D": r"Convolution(?!.*DWConv)|Fully Connected|Conv2D",
    "DEPTHWISE_CONV_2D": r"DWConv|Convolution|Depthwise",
    "FULLY_CONNECTED": r"Fully Connected|Convolution",
    "TRANSPOSE_CONV": r"Deconvolution",
    "BATCH_MATMUL": r"Batch Matrix",
    "MEAN": r"Mean|Reduce|Average Pooling",
    "SUM": r"Sum|Reduce",
    "PAD": r"Pad",
    "PADV2": r"Pad",
    "AVERAGE_POOL_2D": r"Average Pooling",
    "MAX_POOL_2D": r"Max Pooling",
    "RESHAPE": r"Copy|Reshape",
    "HARD_SWISH": r"HardSwish|Hard Swish",
    "LOGISTIC": r"Sigmoid",
    "RELU": r"Clamp",
    "RELU6": r"Clamp",
    "RELU_0_TO_1": r"Clamp",
    "STRIDED_SLICE": r"Slice",
    "SLICE": r"Slice",
    "CONCATENATION": r"Concatenate|Copy",
    "MUL": r"Mul",
    "SUB": r"Sub",
    "GELU": r"GELU",
    "QUANTIZE": r"Convert|Quantize",
    "DEQUANTIZE": r"Convert|Dequantize",
    "RESIZE_BILINEAR": r"Resize Bilinear",
}
_PREPARES = re.compile(r"^Convert \(.*\b(?:QDU?|QP)8\)")
"""XNNPACK's conversion of a filter's input to int8 by the scales of the moment; the filter's kernel comes next."""


def _pattern(kind: str) -> re.Pattern[str]:
    """What kernels of an operator are called: its own name in the interpreter, XNNPACK's words in the delegate."""
    words = _KERNEL_NAMES.get(kind, kind.replace("_", " ").title())
    return re.compile(rf"^{re.escape(kind)}\b|{words}", re.IGNORECASE)


def align(operators: Sequence[Operator], kernels: Sequence[str]) -> list[int | None]:
    """Return for every kernel, in the order of execution, the index of its operator.

    A kernel that fits no operator from there on is counted to the operator before it (a copy the runtime
    added); None only if there is none before. One that prepares another's input is counted with that.
    Operators without a kernel were fused and cost nothing themselves.

    Raises:
        DeviceError: most kernels fit no operator, so the two lists are not of the same network.
    """
    patterns = [_pattern(operator.kind) for operator in operators]
    owners: list[int | None] = []
    position, strangers = 0, 0
    for kernel in kernels:
        if prepares_next(kernel):
            owners.append(None)
            continue
        found = None
        for i in range(position, len(operators)):
            if patterns[i].search(kernel):
                found = i
                break
            if operators[i].fan_in:  # a filter is never fused away, so it cannot be skipped
                break
        if found is None:
            strangers += 1
            owners.append(position - 1 if position else None)
            continue
        owners.append(found)
        position = found + 1
    if strangers * 2 > max(1, len(kernels)):
        raise DeviceError(
            f"the runtime reported {len(kernels)} kernels of which {strangers} fit no operator of the network; "
            "its version may name kernels in a new way."
        )
    for index in range(len(kernels) - 2, -1, -1):
        if prepares_next(kernels[index]):
            owners[index] = owners[index + 1]
    return owners


def prepares_next(kernel: str) -> bool:
    """Tell whether a kernel does a part of the work of the kernel behind it."""
    return _PREPARES.search(kernel) is not None
