"""Which activations of a graph have one scale in its integer file, and which have none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from amc_hw.quantize.ranges import Classes
from amc_hw.quantize.tail import float_tail


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


def tail_of(graph: Named, joined: Collection[str], layers: Collection[str]) -> set[int]:
    """Return the operators at a graph's end that stay in float32; see `float_tail`.

    Args:
        graph: of a float32 file.
        joined: kinds of operators that write all that they read into one tensor.
        layers: kinds of operators that multiply matrices; what is fused into one stands behind a plus sign.
    """
    leaders = [kind.partition("+")[0] for kind in graph.kinds]
    makers = {tensor: index for index in range(len(leaders)) for tensor in graph.outputs_of(index)}
    reads = [
        {makers[tensor] for tensor in graph.tensors_of(index) if tensor in makers} - {index}
        for index in range(len(leaders))
    ]
    return float_tail(
        reads,
        [index for index, kind in enumerate(leaders) if kind in layers],
        [index for index, kind in enumerate(leaders) if kind in joined],
    )


def of_one_scale(
    graph: Named, joined: Collection[str], moved: Collection[str], tail: Collection[int] = ()
) -> dict[str, list[str]]:
    """Return for every activation the names of those that get its scale.

    What only moves values keeps its input's, and what is joined gets one: else the quantizer would write operators that
    change scales between, some or none, as the largest value happens to come from one part or another.

    Args:
        graph: of a float32 file.
        joined: kinds of operators that write all that they read into one tensor.
        moved: kinds of operators whose results are values of their first input.
        tail: operators that stay in float32.
    """
    classes, activations = Classes(), set[int]()
    for index, kind in enumerate(graph.kinds):
        used = [tensor for tensor in graph.tensors_of(index) if tensor >= 0 and not graph.is_constant(tensor)]
        activations.update(used)
        if index in tail:
            continue
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
