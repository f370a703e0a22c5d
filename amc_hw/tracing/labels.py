"""Channel labels: numbers that travel with the elements of tensors and say which channel an element belongs to.

A label tensor has the shape of the tensor it describes. Dimensions along which nothing changes (the batch, usually
height and width) have stride 0, so that the labels of an activation take the memory of its channels only. `Labels` is
the book of what a forward pass told: which labels are one and the same channel, and which must stay, and why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

FIXED = 0  # the label of values that no layer computes: constants, padding, the network's input
NEUTRAL = 1  # the label of values that come of many channels together, and change with their number
_FIXED_REASON = "its channels meet constant channels (padding, or the network's input) that cannot be removed"


def varies(labels: Tensor, dim: int) -> bool:
    """Whether labels differ along a dimension."""
    if labels.size(dim) <= 1 or labels.stride(dim) == 0:
        return False
    return bool((labels != labels.narrow(dim, 0, 1)).any())


def first(labels: Tensor, dims: Sequence[int]) -> Tensor:
    """Keep only index 0 of some dimensions (which stay, with size 1)."""
    for dim in dims:
        labels = labels.narrow(dim, 0, 1)
    return labels


def compact(labels: Tensor) -> Tensor:
    """Give stride 0 to every dimension along which nothing changes."""
    still = [dim for dim in range(labels.dim()) if labels.size(dim) > 0 and not varies(labels, dim)]
    return first(labels, still).expand(labels.shape)


def fixed(shape: Sequence[int], label: int = FIXED) -> Tensor:
    """Return the labels of values that belong to no channel."""
    return torch.full((1,) * len(shape), label, dtype=torch.int64).expand(tuple(shape))


@dataclass
class Reshaped:
    """What a reshape did to channels: dimensions of its result that they were split into, or merged in."""

    split: list[int] = field(default_factory=list)
    merged: list[int] = field(default_factory=list)


class Labels:
    """The book: labels given out, labels that are one channel, labels that must stay."""

    def __init__(self) -> None:
        self._given = 2
        self._joined: list[NDArray[np.int64]] = []
        self._kept: list[tuple[NDArray[np.int64], str]] = []
        self.keep(fixed((1,)), _FIXED_REASON)

    def fresh(self, count: int) -> Tensor:
        """Give out ``count`` new labels."""
        self._given += count
        return torch.arange(self._given - count, self._given)

    def join(self, one: Tensor, other: Tensor) -> None:
        """Note that label tensors of the same shape name the same channels, one by one; neutral ones none do."""
        still = [d for d in range(one.dim()) if not varies(one, d) and not varies(other, d)]
        pairs = torch.stack([first(one, still).flatten(), first(other, still).flatten()])
        meet = (pairs[0] != pairs[1]) & (pairs != NEUTRAL).all(0)
        self._joined.append(pairs[:, meet].numpy())

    def keep(self, labels: Tensor, reason: str) -> None:
        """Note that channels cannot be removed; of several reasons the first is told."""
        self._kept.append(
            (np.unique(first(labels, [d for d in range(labels.dim()) if not varies(labels, d)]).numpy()), reason)
        )

    def along(self, labels: Tensor, dim: int) -> Tensor:
        """Note that labels are the same channel all along a dimension, and return them so."""
        if labels.size(dim) == 0:
            return labels
        same = labels.narrow(dim, 0, 1).expand(labels.shape)
        if varies(labels, dim):
            self.join(same, labels)
        return same

    def pointwise(self, operands: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """Return the labels of an element-wise result of a shape, operands broadcast as in PyTorch.

        Elements that meet belong to one channel. An operand with one value for many channels (an attention map over
        space) joins nothing and must stay.
        """
        size = len(shape)
        operands = [labels.reshape((1,) * (size - labels.dim()) + tuple(labels.shape)) for labels in operands]
        for dim in range(size):
            if any(varies(labels, dim) for labels in operands):
                for labels in operands:
                    if labels.size(dim) == 1:
                        self.keep(labels, "one of its values serves many channels")
                operands = [labels for labels in operands if labels.size(dim) > 1]
        operands = [labels.expand(tuple(shape)) for labels in operands]
        operands.sort(key=lambda labels: sum(varies(labels, dim) for dim in range(size)))  # of equal ones the simplest
        operands.sort(key=lambda labels: bool((first(labels, range(size)) == NEUTRAL).all()))
        for other in operands[1:]:
            self.join(operands[0], other)
        return operands[0] if operands else fixed(shape)

    def reshape(self, labels: Tensor, shape: Sequence[int], where: str, place: int = -1) -> tuple[Tensor, Reshaped]:
        """Return the labels of a reshaped tensor, and what became of its channels.

        Merged dimensions (a flatten) need no care, nor do channels that go on along one dimension, several times each.
        Where the channels are split (a channel shuffle, heads), they stay channels along one of the new dimensions, and
        the parts along the others are joined one to one.

        Args:
            labels: of the tensor.
            shape: that it is given.
            where: for people.
            place: which of the dimensions of a split stays, from the end.
        """
        result = labels.reshape(tuple(shape))
        changed = Reshaped()
        for old, new in _factors(labels.shape, shape):
            if not any(varies(labels, dim) for dim in old):
                continue
            if len(old) > 1:
                changed.merged.extend(new)
            apart = [dim for dim in new if varies(result, dim)]
            if len(old) > 1 and len(apart) > 1:
                self.keep(labels, f"{where} rearranges its channels in a way that is not understood")
                break
            if len(old) == 1 and len(new) > 1:
                changed.split.extend(apart)
                stays = apart[max(place, -len(apart))]
                for dim in apart:
                    if dim != stays:
                        result = self.along(result, dim)
        return compact(result), changed

    def roots(self) -> NDArray[np.int64]:
        """Return for every label the number of its channel: joined labels have the same number."""
        joined = np.concatenate(self._joined, axis=1) if self._joined else np.zeros((2, 0), np.int64)
        graph = coo_array(
            (np.ones(joined.shape[1], np.bool_), (joined[0], joined[1])), shape=(self._given, self._given)
        )
        return np.asarray(connected_components(graph, directed=False)[1], np.int64)

    def reasons(self, roots: NDArray[np.int64]) -> dict[int, str]:
        """Return for every channel that must stay the first reason that was found."""
        found: dict[int, str] = {}
        for labels, reason in self._kept:
            for root in np.unique(roots[labels]):
                found.setdefault(int(root), reason)
        return found


def _factors(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Cut a reshape into the smallest runs of dimensions with equal products; dimensions of size 1 are left out."""
    runs: list[tuple[list[int], list[int]]] = []
    left = [dim for dim, size in enumerate(old) if size != 1]
    right = [dim for dim, size in enumerate(new) if size != 1]
    while left and right:
        a, b = [left.pop(0)], [right.pop(0)]
        while (have := math.prod(old[d] for d in a)) != (want := math.prod(new[d] for d in b)):
            if have < want:
                a.append(left.pop(0))
            else:
                b.append(right.pop(0))
        runs.append((a, b))
    return runs
