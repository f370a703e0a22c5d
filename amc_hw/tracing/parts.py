"""What takes some of a tensor's channels by their positions: slices, splits, and the sizes that these are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from amc_hw.tracing.attributes import Attribute, Sizes
from amc_hw.tracing.labels import Labels, first, varies

MOST_BLOCKS = 8
"""Equal blocks, at most, that a forward is thought to make its parts of; of more, a position is meant."""


class Parts:
    """Notes what slices and splits ask of the channels.

    Args:
        book: where it is noted.
        counts: told that an attribute is the number of some channels (labels along one dimension).
    """

    def __init__(self, book: Labels, counts: Callable[[Attribute, Tensor], None]) -> None:
        self._book = book
        self._counts = counts

    def slice(
        self, labels: Tensor, dim: int, sizes: Sizes, driven: Mapping[int, Attribute], where: str, *, plain: bool
    ) -> None:
        """Note a slice: its attributes count what they reach to; without any, it takes shares of what comes in.

        Args:
            labels: of what is sliced.
            dim: along which, where the channels lie.
            sizes: start, length and stop.
            driven: attributes that these come from.
            where: for people.
            plain: whether it takes every position from start to stop.
        """
        start, length, stop = sizes
        counted = (labels.narrow(dim, 0, start), labels.narrow(dim, start, length), labels.narrow(dim, 0, stop))
        for place, attribute in driven.items():
            self.count(attribute, counted[place], dim)
        ends = (start, length, labels.size(dim) - stop)
        if not driven and not (plain and self._in_shares(labels, dim, ends)):
            self._book.keep(labels, f"{where} takes channels at fixed positions out of its output")

    def split(
        self, labels: Tensor, dim: int, parts: Sequence[Tensor], driven: Mapping[int, Attribute], where: str
    ) -> None:
        """Note a split: its equal parts must stay equal, and its attributes count their parts.

        Args:
            labels: of the tensor that is split: a number for each of its values, which says whose channel it is.
            dim: the axis that is split.
            parts: the labels of each part.
            driven: for a part's place among the parts, the attribute of a module that its size comes from.
            where: the module and the operator, for messages.
        """
        for place, attribute in driven.items():
            self.count(attribute, parts[place], dim)
        alike = [part for part in parts if part.shape == parts[0].shape]
        if len(alike) == len(parts) or driven:
            for part in alike[1:]:
                self._book.join(alike[0], part)
        elif not self._in_shares(labels, dim, [part.size(dim) for part in parts]):
            self._book.keep(labels, f"{where} splits its channels into unequal parts")

    def count(self, attribute: Attribute, labels: Tensor, dim: int) -> None:
        """Note that an attribute is the size of a dimension, if channels lie along it."""
        if varies(labels, dim):
            others = [other for other in range(labels.dim()) if other != dim % labels.dim()]
            self._counts(attribute, first(labels, others).flatten())

    def _in_shares(self, labels: Tensor, dim: int, sizes: Sequence[int]) -> bool:
        """Join the equal blocks that parts are made of, a quarter and the rest for example; tell whether there are."""
        width = math.gcd(*sizes)
        blocks = sum(sizes) // width
        if width < 2 or blocks > MOST_BLOCKS:
            return False
        for block in range(1, blocks):
            self._book.join(labels.narrow(dim, 0, width), labels.narrow(dim, block * width, width))
        return True
