"""Which operators of a graph go when a residual block is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from amc_hw.latency.operators import Operator

_ACTIVATIONS = frozenset({"RELU", "RELU6"})


class Connected(Protocol):
    """What is asked of a graph: its operators in the order of execution, by index, and the tensors they touch."""

    def operators(self) -> list[Operator]:
        """Return every operator."""

    def tensors_of(self, index: int) -> Sequence[int]:
        """Return what an operator reads and writes."""

    def outputs_of(self, index: int) -> Sequence[int]:
        """Return what an operator writes."""


class Flow:
    """Who makes and who reads every tensor of a graph.

    Args:
        graph: operators in the order of execution.
    """

    def __init__(self, graph: Connected) -> None:
        self._graph = graph
        self._kinds = [operator.kind for operator in graph.operators()]
        self._outputs = [graph.outputs_of(index) for index in range(len(self._kinds))]
        self._maker = {tensor: index for index, outputs in enumerate(self._outputs) for tensor in outputs}
        self._readers: dict[int, list[int]] = {}
        for index, outputs in enumerate(self._outputs):
            for tensor in set(graph.tensors_of(index)) - set(outputs):
                self._readers.setdefault(tensor, []).append(index)

    def activations(self, index: int) -> list[int]:
        """Return what an operator reads from others and what it writes; weights may be stored once for several."""
        return [tensor for tensor in self._graph.tensors_of(index) if tensor in self._maker]

    def block(self, core: set[int], last: Iterable[int]) -> set[int]:
        """Return the operators of a residual block: from those that only it feeds to the sum and its activation.

        Args:
            core: operators that read or write channels inside the block.
            last: those of them that write what leaves it.
        """
        found, ends, entries = set(core), list(last), set[int]()
        while ends:
            index = ends.pop()
            outside = [maker for maker in self._makers(index) if maker not in found]
            if outside:  # the sum, whose other side is what entered the block
                entries.update(outside)
                found.update(self._activation(index))
                continue
            readers = set(self._read_by(index)) - found
            found |= readers
            ends += readers
        return self._with_feeders(found, entries)

    def _with_feeders(self, found: set[int], entries: set[int]) -> set[int]:
        """Add the operators whose results are read by these alone, but for what enters the block."""
        for index in range(max(found, default=0), -1, -1):
            readers = self._read_by(index)
            if readers and index not in entries and found.issuperset(readers):
                found.add(index)
        return found

    def _activation(self, index: int) -> list[int]:
        """Return the activation that alone reads an operator's result, if one does."""
        readers = self._read_by(index)
        return [r for r in readers if len(readers) == 1 and self._kinds[r] in _ACTIVATIONS]

    def _makers(self, index: int) -> list[int]:
        tensors = set(self._graph.tensors_of(index)) - set(self._outputs[index])
        return [self._maker[tensor] for tensor in sorted(tensors) if tensor in self._maker]

    def _read_by(self, index: int) -> list[int]:
        return [reader for tensor in self._outputs[index] for reader in self._readers.get(tensor, ())]
