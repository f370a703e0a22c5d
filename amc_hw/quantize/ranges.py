"""The range of an activation, from what it was on every calibration image."""

from __future__ import annotations

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
