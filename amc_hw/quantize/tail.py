"""The end of a network, where results of different ranges become one tensor: it stays in float32.

A detector joins boxes in pixels and scores between 0 and 1. With one scale for all of them every score is rounded to
zero.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def float_tail(
    reads: Sequence[Collection[int]], layers: Collection[int], joins: Collection[int], parts: Collection[int] = ()
) -> set[int]:
    """Return the operators behind the last layers, if some of them join tensors; none otherwise.

    Args:
        reads: for every operator, in the order of execution, the operators whose results it reads.
        layers: those that multiply matrices.
        joins: those that write all that they read into one tensor.
        parts: those that are computed with the layer that they read, if it is one: norms and activations.
    """
    with_layers = set(layers)
    for operator in sorted(parts):
        if not with_layers.isdisjoint(reads[operator]):
            with_layers.add(operator)
    readers: list[set[int]] = [set() for _ in reads]
    for reader, read in enumerate(reads):
        for operator in read:
            readers[operator].add(reader)
    tail = set[int]()
    for operator in reversed(range(len(reads))):
        if operator not in with_layers and readers[operator] <= tail:
            tail.add(operator)
    return set() if tail.isdisjoint(joins) else tail
