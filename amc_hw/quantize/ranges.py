"""The range of an activation, from what it was on every calibration image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CUT_OFF = 0.03
"""Largest share of the images whose extremes lie outside of a range, on either side: a few odd ones widen none."""


class Classes:
    """Numbers that belong together, found step by step: tensors that share a scale."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def join(self, one: int, other: int) -> None:
        """Have two numbers, and all that belong to them, together."""
        self._parent[max(self.of(one), self.of(other))] = min(self.of(one), self.of(other))

    def of(self, number: int) -> int:
        """Return the least number of a class."""
        while self._parent.get(number, number) != number:
            number = self._parent[number]
        return number


def range_of(lowest: NDArray[Any], highest: NDArray[Any]) -> tuple[float, float]:
    """Return the range of a tensor whose least and greatest values on every image are given (images,)."""
    low = np.quantile(lowest, CUT_OFF, method="lower")
    high = np.quantile(highest, 1 - CUT_OFF, method="higher")
    return float(low), float(high)


class Extremes:
    """The least and the greatest value of activations, by their names, on every calibration image.

    Args:
        batch: images for each run of the file that they are looked at in.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._seen: dict[str, list[tuple[float, float]]] = {}

    def see(self, name: str, value: NDArray[Any]) -> None:
        """Look at what an activation is in a run; one without an axis for the images counts as of one image."""
        by_image = value if value.ndim > 1 and len(value) == self._batch else value[None]
        self._seen.setdefault(name, []).extend((float(image.min()), float(image.max())) for image in by_image)

    def ranges(self, together: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
        """Return the range of every activation that was seen.

        Args:
            together: for each, the names of those that get its scale; it alone where it is not named.
        """
        own = {name: range_of(*np.asarray(each).T) for name, each in self._seen.items()}
        joined = {name: [own[other] for other in together.get(name, (name,)) if other in own] for name in own}
        return {name: (min(low for low, _ in each), max(high for _, high in each)) for name, each in joined.items()}
