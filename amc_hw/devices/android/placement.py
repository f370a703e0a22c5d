"""Which processor runs which operators: what LiteRT's log and its file of runtime details say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amc_hw.devices.android.benchmark_statistics import BenchmarkLogError

_REPLACING = re.compile(r"Replacing ([0-9]{1,9}) out of ([0-9]{1,9}) (?:node\(s\)|nodes) with delegate \(([^)]+)\)")
_COMPILED = re.compile(r"Partitioned subgraph<[0-9]+>, selected ([0-9]{1,9}) ops, from a total of ([0-9]{1,9}) ops")
_REFUSED = re.compile(r"(?:Following|Next) operations are not supported by GPU delegate:")
_REST = re.compile(r"(?:First )?[0-9]+ operations will run on the GPU, and the remaining ([0-9]{1,9})\b.*on the CPU")
_OPERATOR = re.compile(r"(?!(?:VERBOSE|INFO|WARN|WARNING|FATAL)\b)\w+:")
_NOT_WHOLE = re.compile(r"Some ops are not accelerated|the graph is not fully delegated")
_DELEGATES = {
    "gpu": re.compile(r"LITERT_\w+|TfLiteGpuDelegate\w*"),
    "npu": re.compile(r"DispatchDelegate"),
}
_CAUSES = {
    "gpu": ("GPU accelerator could not be loaded and registered",),
    "npu": (
        'library "[^"]+" not found',
        "No dispatch library found in [^ ]+",
        "No compiler plugin found",
        "Failed to load compiler plugins: .+",
        "Failed to apply compiler plugins: .+",
        "Failed to create QNN context: .+",
        "failed to call device create, .+",
        "No usable Dispatch runtime found",
        "Failed to initialize Dispatch API",
        "0 compiler plugins were applied successfully",
    ),
}
"""What a log says where an accelerator took nothing, the root first."""


@dataclass(frozen=True)
class Placement:
    """What an accelerator took of a network, by a log.

    Attributes:
        taken: operators, or the nodes that a compiler made of them, that it runs.
        total: that there are; 0 where the log does not say.
        refused: why it left some, each ``OPERATOR: reason``.
        cause: why it took nothing, "" where the log does not say.
        failed: the runtime itself says that a part would have been left.
    """

    taken: int = 0
    total: int = 0
    refused: tuple[str, ...] = ()
    cause: str = ""
    failed: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the accelerator runs everything."""
        return 0 < self.total == self.taken and not self.failed and not self.refused

    @property
    def is_told(self) -> bool:
        """Whether the log says anything of it."""
        return bool(self.total or self.cause or self.failed or self.refused)


def read_placement(lines: Sequence[str], accelerator: str) -> Placement:
    """Read what an accelerator took.

    Args:
        lines: of the log, standard output and standard error.
        accelerator: ``gpu`` or ``npu``.
    """
    nodes = [(int(found[1]), int(found[2])) for found in _found(_REPLACING, lines) if _is(found[3], accelerator)]
    # A compiler makes one node of many operators, so what it selected says more than the nodes; but not where they are
    # not run in the end.
    compiled = [(int(found[1]), int(found[2])) for found in _found(_COMPILED, lines)]
    all_taken = bool(nodes) and all(taken == total for taken, total in nodes)
    told = compiled if compiled and nodes and (all_taken or any(taken < total for taken, total in compiled)) else nodes
    return Placement(
        taken=sum(taken for taken, _ in told),
        total=sum(total for _, total in told),
        refused=_refused(lines),
        cause="" if any(taken for taken, _ in nodes) else _cause(lines, accelerator),
        failed=any(_NOT_WHOLE.search(line) for line in lines),
    )


def _found(form: re.Pattern[str], lines: Iterable[str]) -> list[re.Match[str]]:
    return [found for line in lines if (found := form.search(line))]


def _is(delegate: str, accelerator: str) -> bool:
    return _DELEGATES[accelerator].fullmatch(delegate) is not None


def _refused(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the list under the GPU delegate's words that it does not support something, in one line each."""
    refused: list[str] = []
    within = False
    for line in (line.strip().removeprefix("ERROR: ") for line in lines):
        if _REFUSED.search(line):
            within = True
        elif _REST.search(line):
            within = False
        elif within and _OPERATOR.match(line):
            refused.append(line.rstrip(" .:"))
    return tuple(dict.fromkeys(refused))


def _cause(lines: Sequence[str], accelerator: str) -> str:
    for cause in _CAUSES[accelerator]:
        for line in lines:
            if found := re.search(cause, line):
                return found[0].rstrip(" .")[:160]
    return ""


def read_left(details: bytes, accelerator: str) -> list[str]:
    """Return the operators that an accelerator does not run, in their order, as ``OPERATOR (tensor it writes)``.

    Args:
        details: a ``ModelRuntimeDetails`` message, as ``--model_runtime_info_output_file`` has it.
        accelerator: ``gpu`` or ``npu``.

    Raises:
        BenchmarkLogError: the bytes are no such message.
    """
    # Deferred: importing this package should not cost every command the time of loading protobuf.
    from ai_edge_litert.model_runtime_info_pb2 import ModelRuntimeDetails
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        message = ModelRuntimeDetails.FromString(details)
    except DecodeError as error:
        raise BenchmarkLogError(f"the file of runtime details is damaged ({error}); run this again.") from error
    left: list[str] = []
    for graph in message.subgraphs:
        tensors = {edge.id: edge.name for edge in graph.edges}
        parts = [node.delegate_node_details for node in graph.nodes if node.HasField("delegate_node_details")]
        taken = {n for part in parts if _is(part.delegate_name, accelerator) for n in part.tflite_node_ids_replaced}
        for node in graph.nodes:
            if node.id not in taken and not node.HasField("delegate_node_details"):
                written = ", ".join(filter(None, (tensors.get(tensor, "") for tensor in node.outputs)))
                left.append(f"{node.name.removeprefix('Delegate/')} ({written})" if written else node.name)
    return left
