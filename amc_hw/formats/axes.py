"""Along which axis the channels of a file's tensors lie: maps have them second, tokens last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from amc_hw.latency.operators import Shape, channels_last


class Step(NamedTuple):
    """One operator: the activations that it reads, what it writes, and how it orders axes, if that is all it does."""

    reads: Sequence[str]
    writes: Sequence[str]
    order: Sequence[int] | None = None
    multiplies: bool = False  # matrices, of which the last axis are the channels


def laid_last(tensor: int, second: Collection[int], shapes: Mapping[int, Shape] | Sequence[Shape]) -> Shape:
    """Return the shape of a tensor with its channels last; ``second`` are those whose channels are the second axis."""
    return channels_last(shapes[tensor]) if tensor in second else shapes[tensor]


def channels_second(inputs: Iterable[str], steps: Iterable[Step]) -> set[str]:
    """Return the tensors whose channels are the second axis.

    Those of the file's inputs are, and those of what is made of such tensors alone; a product of matrices has them
    last, and a transposition can move them.

    Args:
        inputs: of the file.
        steps: its operators, in their order.
    """
    second = set(inputs)
    for step in steps:
        if step.multiplies:
            continue
        is_second = all(name in second for name in step.reads)
        if step.order is not None and len(step.order) > 2:
            last = len(step.order) - 1
            is_second = step.order[-1] != 1 if is_second else step.order[1] == last
        if is_second:
            second.update(step.writes)
    return second
