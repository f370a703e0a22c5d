"""Which activations of a graph have one scale in its integer file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from amc_hw.quantize.ranges import Classes


class Named(Protocol):
    """What is asked of a graph: its operators' kinds, and the names of the tensors that they touch."""

    @property
    def kinds(self) -> Sequence[str]:
        """The kind of every operator."""

    def tensors_of(self, index: int) -> Sequence[int]:
        """Return what an operator reads and writes; -1 where one is left out."""

    def outputs_of(self, index: int) -> Sequence[int]:
        """Return what an operator writes."""

    def is_constant(self, tensor: int) -> bool:
        """Tell whether a tensor's value is stored in the file."""

    def name(self, tensor: int) -> str:
        """Return a tensor's name."""


def of_one_scale(graph: Named, joined: Collection[str], moved: Collection[str]) -> dict[str, list[str]]:
    """Return for every activation the names of those that get its scale.

    What only moves values keeps its input's, and what is joined gets one: else the quantizer would write operators that
    change scales between, some or none, as the largest value happens to come from one part or another.

    Args:
        graph: of a float32 file.
        joined: kinds of operators that write all that they read into one tensor.
        moved: kinds of operators whose results are values of their first input.
    """
    classes, activations = Classes(), set[int]()
    for index, kind in enumerate(graph.kinds):
        used = [tensor for tensor in graph.tensors_of(index) if tensor >= 0 and not graph.is_constant(tensor)]
        activations.update(used)
        if kind in joined:
            for tensor in used[1:]:
                classes.join(used[0], tensor)
        elif kind in moved:
            for output in graph.outputs_of(index):
                classes.join(used[0], output)
    members: dict[int, list[str]] = {}
    for tensor in sorted(activations):
        members.setdefault(classes.of(tensor), []).append(graph.name(tensor))
    return {graph.name(tensor): members[classes.of(tensor)] for tensor in activations}
