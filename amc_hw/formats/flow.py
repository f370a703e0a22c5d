"""Which operators of a graph go when a residual block is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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

    def block(self, core: set[int], last: Iterable[int], is_whole: Callable[[set[int]], bool]) -> set[int]:
        """Return the operators of a residual block: from those that only it feeds to the sum and its activation.

        A block of several sums, one behind the other (attention, then an MLP), goes on to the sum before until it is
        whole; one that is never whole is what leads to its last sum.

        Args:
            core: operators that read or write channels inside the block.
            last: those of them that write what leaves it.
            is_whole: tells whether operators are all of the block.
        """
        found, entries = self._to_the_sum(core, last)
        last_sum = found
        while not is_whole(found):
            before = self._sum_before(entries)
            if before is None:
                return last_sum
            operators, entry = before
            entries = {entry}
            found = self._with_feeders(found | operators, entries)
        return found

    def _to_the_sum(self, core: set[int], last: Iterable[int]) -> tuple[set[int], set[int]]:
        """Return the operators up to the next sum, with those that lead to them alone, and what enters there."""
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
        return self._with_feeders(found, entries), entries

    def _sum_before(self, entries: set[int]) -> tuple[set[int], int] | None:
        """Return the sum that makes what enters a block, with what follows it there, and what enters that sum."""
        found, makers = set[int](), sorted(entries)
        while len(makers) == 1:
            found.add(makers[0])
            makers = self._makers(makers[0])
        if len(makers) != 2:
            return None
        first, second = makers
        if first == second or first in self._before(second):
            return found, first
        return (found, second) if second in self._before(first) else None

    def _before(self, index: int) -> set[int]:
        """Return the operators that lead to one."""
        found, rest = set[int](), [index]
        while rest:
            makers = [maker for maker in self._makers(rest.pop()) if maker not in found]
            found.update(makers)
            rest += makers
        return found

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
        tensors = [tensor for tensor in self._graph.tensors_of(index) if tensor not in self._outputs[index]]
        return [self._maker[tensor] for tensor in tensors if tensor in self._maker]

    def _read_by(self, index: int) -> list[int]:
        return [reader for tensor in self._outputs[index] for reader in self._readers.get(tensor, ())]
