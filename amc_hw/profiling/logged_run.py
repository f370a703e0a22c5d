"""How logged networks were run: what the logs and the network's file say outranks what is assumed where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from amc_hw.devices.android.log_claims import kernel_precision, names_kernels
from amc_hw.errors import UsageError
from amc_hw.policy import DTYPES
from amc_hw.profiling.import_logs import LoggedNetwork

_FILE_PRECISIONS = {
    ("FLOAT32", "FLOAT32"): "float32",
    ("FLOAT16", "FLOAT16"): "float16",
    ("FLOAT32", "INT8"): "int8-dynamic",
    ("INT8", "INT8"): "int8",
    ("UINT8", "UINT8"): "uint8",
    ("INT16", "INT8"): "int16x8",
}
"""Types of a filter's output and of its weights."""
_STORED_PRECISIONS = {"FLOAT16": "float16", "INT8": "float32 with int8 weights"}
"""Types of weights that become float32 before a filter reads them."""
_COMPUTED_OTHERWISE = {("float32", "float16"), ("float16", "float32")}
"""Precisions of a file and of the kernels that a runtime may have chosen for it."""

Value = TypeVar("Value", int, str)


@dataclass(frozen=True)
class LoggedRun:
    """What a table of logs has in its fingerprint; the fields are `Fingerprint`'s."""

    threads: int
    delegate: str
    dtype: str
    batch_size: int


def logged_run(
    networks: Sequence[LoggedNetwork], threads: int | None = None, delegate: str | None = None, dtype: str | None = None
) -> LoggedRun:
    """Return how the networks were run.

    Args:
        networks: with their logs.
        threads: what the user says; None to take the logs' word, and 1 (TensorFlow Lite's default) where they say none.
        delegate: likewise; else ``none``.
        dtype: likewise, or the network file's word; else ``float32``. It may be a precision's name, ``fp16``.

    Raises:
        UsageError: the logs disagree among themselves, with the network's file, or with what the user says.
        BenchmarkLogError: a log has kernels of several precisions.
    """
    said_threads = _agreed("threads", {log.claims.threads for network in networks for log in network.logs})
    return LoggedRun(
        threads=_chosen("threads", threads, said_threads) or 1,
        delegate=_chosen("delegate", delegate and delegate.lower(), _agreed("delegates", _delegates(networks)))
        or "none",
        dtype=_dtype(networks, dtype),
        batch_size=_batch_size(networks),
    )


def logged_runtime(networks: Sequence[LoggedNetwork]) -> str:
    """Return whose benchmark_model printed the logs, as a fingerprint names it.

    Raises:
        UsageError: some are LiteRT's and some TensorFlow Lite's.
    """
    names = {"litert benchmark_model" if log.litert else "tflite" for network in networks for log in network.logs}
    return _agreed("runtimes", set(names)) or "tflite"


def _delegates(networks: Sequence[LoggedNetwork]) -> set[str | None]:
    """Return what has executed the networks by the logs, in small letters; None stands for logs that name nothing."""
    return {
        log.delegate.lower() if log.delegate else "xnnpack" if names_kernels(log.operators) else None
        for network in networks
        for log in network.logs
    }


def _agreed(what: str, found: set[Value | None]) -> Value | None:
    """Return the only value that logs name."""
    if len(found) > 1:
        names = ", ".join(sorted("not said" if value is None else str(value) for value in found))
        raise UsageError(f"the logs are of different {what} ({names}); make a table of each.")
    return next(iter(found), None)


def _chosen(option: str, wanted: Value | None, said: Value | None, who: str = "the logs, which say") -> Value | None:
    """Return what the user or the logs say; raise UsageError where both speak and differ."""
    if wanted is not None and said is not None and wanted != said:
        raise UsageError(f"{option}={wanted} contradicts {who} {said}; leave {option}= out.")
    return said if wanted is None else wanted


def _dtype(networks: Sequence[LoggedNetwork], wanted: str | None) -> str:
    logs = [log for network in networks for log in network.logs]
    ran = _agreed("precisions", {kernel_precision(log.operators) for log in logs})
    file = _agreed("precisions", {network.precision for network in networks})
    if ran and file and ran != file and (file, ran) not in _COMPUTED_OTHERWISE:
        raise UsageError(
            f"the logs have kernels of {ran}, but the network's file is of {file}; name what ran as model=."
        )
    if file == "float16":  # that its kernels may be float32's is known of such a file
        ran = None
    wanted = next((called for precision, called in DTYPES.items() if precision == wanted), wanted)
    if said := _chosen("dtype", wanted, ran or file, "the logs, which say" if ran else "the file, which says"):
        return said
    quantised = next((log.claims.graph for log in logs if log.claims.quantised), "")
    if quantised is None or quantised:
        raise UsageError(
            f"the logs are of a quantised network by its name or input ({quantised or 'not named'}), but their "
            "operators do not tell its precision; name its .tflite file as model=, or say dtype=int8 (or uint8 ...)."
        )
    return "float32"


def _batch_size(networks: Sequence[LoggedNetwork]) -> int:
    """Return the images of a run; refuse a network that was run on other images than its operators are made for."""
    found: set[int | None] = set()
    for network in networks:
        due = network.operators[0].inputs[0]
        found.add(due[0])
        for log in network.logs:
            shape = log.claims.input_shape
            if shape is not None and len(shape) == len(due) and shape != due:
                raise UsageError(
                    f"a log of {network.name} says that its input was {shape}, but the network takes {due}; name as "
                    "model= the .tflite file that was run, in the size that it was run in."
                )
    return _agreed("batch sizes", found) or 1


def file_precision(model: Path, content: bytes) -> str | None:
    """Return the precision that a .tflite file computes its filters in, None where it has no filters.

    Raises:
        UsageError: it has several.
        UnsupportedModelError: it is damaged.
    """
    from ai_edge_litert.schema_py_generated import TensorType

    from amc_hw.formats.tflite.graph import TfliteGraph
    from amc_hw.latency.operators import MATMUL_KINDS

    graph, found = TfliteGraph(content), set()
    names = {code: name for name, code in vars(TensorType).items() if isinstance(code, int)}
    stored: dict[int, str] = {}  # types of the constants that a DEQUANTIZE makes float32
    for kind, operator in zip(graph.kinds, graph.subgraph.operators, strict=True):
        read, written = operator.inputs, names[graph.subgraph.tensors[operator.outputs[0]].type]
        if kind == "DEQUANTIZE" and graph.is_constant(read[0]):
            stored[int(operator.outputs[0])] = names[graph.subgraph.tensors[read[0]].type]
        elif kind in MATMUL_KINDS | {"DEPTHWISE_CONV_2D"}:
            weights = names[graph.subgraph.tensors[read[1]].type]
            plain = f"{written.lower()} with {weights.lower()} weights"
            precision = _FILE_PRECISIONS.get((written, weights), plain)
            found.add(_STORED_PRECISIONS.get(stored.get(int(read[1]), ""), precision))
    if len(found) > 1:
        raise UsageError(
            f"{model} computes in {' and '.join(sorted(found))}, and a table holds one precision; "
            "run a network that is of one precision throughout."
        )
    return next(iter(found), None)
