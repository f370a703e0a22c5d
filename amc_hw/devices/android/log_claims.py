"""What a benchmark_model log says of how the network was run: threads, input, and the precision of its kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amc_hw.devices.android.benchmark_profile import OperatorTime
from amc_hw.devices.android.benchmark_statistics import BenchmarkLogError, damaged, shown

_THREADS = re.compile(r"(?:Num threads|#threads used for CPU inference): \[(.*)\]")
_SHAPES = re.compile(r"Input shapes: \[(.*)\]")
_GRAPH = re.compile(r"Graph: \[(.*)\]")
_TYPES = re.compile(r"Input types: \[(.*)\]")
_QUANTISED = re.compile(r"(?:^|[^a-z])(?:q|quant|quantized|u?int8|int16x8|w8a8)(?:[^a-z]|$)", re.IGNORECASE)

_KERNEL = re.compile(r"\((?:NHWC|NCHW|NWC|NC|ND|X)(?:, *)([^()]*)\)")
"""XNNPACK's kernels name their layout and the types of input, output and weights, for example ``(NHWC, QC8) IGEMM``."""
_FILTERED = re.compile(r"Convolution|Deconvolution|Fully Connected|Conv2D|DWConv", re.IGNORECASE)
_PRECISIONS = (
    (r"Q[SC]8\b.*Q[CB]4W", "int8 with int4 weights"),
    (r"Q[CB]4W", "float32 with int4 weights"),
    (r"QDU?8|QP8", "int8-dynamic"),
    (r"QU8", "uint8"),
    (r"P?Q[SC]8(?!W)", "int8"),
    (r"Q[SCB]8W", "float32 with int8 weights"),
    (r"BF16", "bfloat16"),
    (r"F16|P?FP16", "float16"),
    (r"P?F32", "float32"),
)


@dataclass(frozen=True)
class Claims:
    """What a log says of its run, None where it says nothing.

    Attributes:
        threads: of the runtime; None also for -1, which leaves them to the runtime.
        input_shape: of the only input.
        graph: file name of the network.
        quantised: the network's name or the type of its input says that it is no float network.
    """

    threads: int | None = None
    input_shape: tuple[int, ...] | None = None
    graph: str | None = None
    quantised: bool = False


def read_claims(lines: Sequence[str]) -> Claims:
    """Read the parameters that benchmark_model prints at its start.

    Args:
        lines: the log's `contents`.

    Raises:
        BenchmarkLogError: a value is damaged, or two contradict each other.
    """
    graph = next(iter(_said(_GRAPH, lines)), "").replace("\\", "/").rsplit("/", 1)[-1]
    types = next(iter(_said(_TYPES, lines)), "")
    return Claims(_threads(lines), _shape(lines), graph or None, bool(_QUANTISED.search(graph) or "int8" in types))


def _threads(lines: Sequence[str]) -> int | None:
    found = set()
    for line in lines:
        if said := _THREADS.fullmatch(line):
            if not re.fullmatch(r"-1|[1-9][0-9]{0,3}", said[1]):
                raise damaged(line, f"{shown(said[1][:40])} is no number of threads")
            found.add(int(said[1]))
    if len(found - {-1}) > 1:
        raise BenchmarkLogError(f"the log says {sorted(found)} threads; give one run's log.")
    return next(iter(found - {-1}), None)


def _shape(lines: Sequence[str]) -> tuple[int, ...] | None:
    for text in _said(_SHAPES, lines):
        if text and ":" not in text:  # colons separate the shapes of several inputs
            if not re.fullmatch(r"[1-9][0-9]{0,6}(?:,[1-9][0-9]{0,6})*", text):
                raise BenchmarkLogError(f"the input shape {shown(text)} of the log is damaged; take the log again.")
            return tuple(map(int, text.split(",")))
    return None


def _said(form: re.Pattern[str], lines: Sequence[str]) -> list[str]:
    return [said[1] for line in lines if (said := form.fullmatch(line))]


def kernel_precision(operators: Iterable[OperatorTime]) -> str | None:
    """Return the precision that XNNPACK's kernels with filters name, or None where no kernel names one.

    Raises:
        BenchmarkLogError: they name several, or one that is not known here.
    """
    found = {_precision(said[1]) for o in operators if _FILTERED.search(o.type) and (said := _KERNEL.search(o.type))}
    if len(found) > 1:
        raise BenchmarkLogError(
            f"the log has kernels of {' and '.join(sorted(found))}, and a table holds one precision; "
            "run a network that is of one precision throughout."
        )
    return next(iter(found), None)


def _precision(types: str) -> str:
    for form, precision in _PRECISIONS:
        if re.search(rf"\b(?:{form})\b", types):
            return precision
    raise BenchmarkLogError(
        f"the precision '{types[:40]}' of a kernel is not known here; log a float32 or an int8 network."
    )


def refuse_hidden(operators: Iterable[OperatorTime], network: str) -> None:
    """Refuse a profile in which a delegate is one node, so that the operators inside of it have no times.

    Raises:
        BenchmarkLogError: there is such a node; the message names the build or the flag that shows its operators.
    """
    for operator in operators:
        if not re.fullmatch(r"\w*Delegate\w*", operator.type):
            continue
        cure = (
            "use a benchmark_model of TensorFlow 2.10 or later, whose --enable_op_profiling=true shows them, or show "
            "them without the delegate: --use_xnnpack=false"
            if "xnnpack" in operator.type.lower()
            else "this delegate never shows them; log the processor instead: leave --use_gpu=true, --use_nnapi=true "
            "and their like out, and give --enable_op_profiling=true"
        )
        raise BenchmarkLogError(
            f"the profile of {network} shows {operator.type} as one node of {operator.avg_us / 1e3:.4g} ms and not the "
            f"operators inside of it, and the same build and flags will do so again: {cure}."
        )


def refuse_joined(operators: Iterable[OperatorTime], network: str) -> None:
    """Refuse a profile that adds up kernels of several parts of a network because they have one name.

    Raises:
        BenchmarkLogError: there are such kernels.
    """
    joined = next((operator for operator in operators if operator.times_called != 1), None)
    if joined is not None:
        raise BenchmarkLogError(
            f"benchmark_model adds up {joined.times_called} kernels '{shown(joined.type)}' of {network} under one "
            "name, because the delegate runs it in several parts, so that its operators cannot be told apart; measure "
            "it without the delegate (a log with --use_xnnpack=false, a phone as NAME:delegate=none)."
        )


def names_kernels(operators: Iterable[OperatorTime]) -> bool:
    """Tell whether operators have the names of XNNPACK's kernels, which no other part of the runtime uses."""
    return any(_KERNEL.search(operator.type) for operator in operators)
