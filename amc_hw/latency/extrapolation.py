"""Latency of operators of which a table has few measurements or none, from those of the same kind.

For each kind of operator a regression on its multiply-accumulates, and on the values it reads, writes and keeps
as weights, is fitted to every entry of the kind, whatever its shape. What the regression leaves at the entries
of one shape (a cache that overflows there, a first layer with its own kernel) is carried over to the shape's
other channel counts by inverse-distance weighting (Shepard, 1968), so that what was measured is answered as it
was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from amc_hw.latency.families import kind_of, sizes, work_of
from amc_hw.latency.operators import MATMUL_KINDS
from amc_hw.latency.table import Entry

TILES = (1, 2, 4, 8, 16, 32)
LEAST_US = 0.5
"""Half the resolution of a profile: nothing is predicted to be faster."""

Floats = NDArray[np.float64]


class Regression:
    """Latency of one kind of operator: non-negative least squares on its sizes and a constant.

    Output channels count in whole tiles, as kernels compute them; the tile that fits best is taken. Errors are
    weighted by one over the square root of the time: between absolute errors, which leave small operators to
    chance, and relative ones, which leave the total too low.

    Args:
        entries: of one kind, at least one.
    """

    def __init__(self, entries: Sequence[Entry], tiles: Sequence[int] = TILES) -> None:
        measured = np.array([entry.mean_us for entry in entries])
        weights = np.where([entry.unstable for entry in entries], 0.3, 1.0) / np.sqrt(measured)
        tiled = kind_of(entries[0].family) in MATMUL_KINDS | {"DEPTHWISE_CONV_2D"}
        self.tile, self._coefficients = 1, np.zeros(5)
        least = np.inf
        for tile in tiles if tiled else (1,):
            features = self._features([(e.family, e.c_in, e.c_out) for e in entries], tile)
            scale = np.maximum(features.max(axis=0), 1.0)
            coefficients, residual = nnls(features / scale * weights[:, None], measured * weights)
            if residual < least * 0.99:  # a wider tile must earn its place
                least, self.tile, self._coefficients = residual, tile, coefficients / scale

    @staticmethod
    def _features(operators: Sequence[tuple[str, int, int]], tile: int) -> Floats:
        rows = [sizes(family, c_in, -(-c_out // tile) * tile).features() for family, c_in, c_out in operators]
        return np.column_stack([np.array(rows, float), np.ones(len(rows))])

    def predict_us(self, operators: Sequence[tuple[str, int, int]]) -> Floats:
        """Return the latency in microseconds of operators given as (family, c_in, c_out)."""
        predicted: Floats = np.maximum(self._features(operators, self.tile) @ self._coefficients, LEAST_US)
        return predicted


class Extrapolation:
    """Answers for every operator of a kind that the table has.

    Args:
        entries: all of a table.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._kinds: dict[str, list[Entry]] = {}
        self._works: dict[str, list[Entry]] = {}
        self._families: dict[str, list[Entry]] = {}
        for entry in entries:
            self._kinds.setdefault(kind_of(entry.family), []).append(entry)
            self._works.setdefault(work_of(entry.family), []).append(entry)
            self._families.setdefault(entry.family, []).append(entry)
        self._regressions: dict[str, Regression] = {}
        self._errors: dict[str, float] = {}

    def knows(self, family: str) -> bool:
        """Tell whether there is any entry of the family's kind."""
        return kind_of(family) in self._kinds

    def measured(self, family: str) -> Sequence[Entry]:
        """Return the family's entries, or where it has none those of families that do the same work."""
        return self._families.get(family, []) or self._works.get(work_of(family), [])

    def predict_us(self, family: str, c_in: Floats, c_out: Floats) -> Floats:
        """Return the latency in microseconds for arrays of channel counts of a family whose kind is known."""
        regression = self._regression(kind_of(family))
        operators = [(family, int(i), int(o)) for i, o in zip(c_in, c_out, strict=True)]
        predicted = regression.predict_us(operators)
        measured = self.measured(family)
        if not measured:
            return predicted
        times = np.array([entry.mean_us for entry in measured])
        left = np.log(times / regression.predict_us([entry.key for entry in measured]))
        at = np.log([[entry.c_in, entry.c_out] for entry in measured])
        asked = np.log(np.stack([c_in, c_out], axis=1))
        distance = ((asked[:, None, :] - at[None, :, :]) ** 2).sum(axis=2)
        weights = 1 / (distance + 1e-9)
        corrected: Floats = predicted * np.exp(weights @ left / weights.sum(axis=1))
        return corrected

    def reach(self, family: str, c_in: int, c_out: int) -> float:
        """Return how far an operator lies beyond what was measured of its kind: 1 inside, 2 for twice the largest.

        It is the largest factor by which one of its sizes is over the largest or under the smallest that the
        regression has seen.
        """
        asked = np.maximum(sizes(family, c_in, c_out).features(), 1)
        seen = np.maximum([sizes(*entry.key).features() for entry in self._kinds[kind_of(family)]], 1)
        return float(max(1.0, (asked / seen.max(axis=0)).max(), (seen.min(axis=0) / asked).max()))

    def error(self, family: str) -> float | None:
        """Return the regression's mean error on shapes that it was not fitted on, or None with a single shape.

        Each shape of the kind is left out in turn; the error is a fraction of the time.
        """
        kind = kind_of(family)
        if kind not in self._errors:
            entries = self._kinds[kind]
            works = {work_of(entry.family) for entry in entries}
            if len(works) < 2:
                return None
            errors = []
            for work in sorted(works):
                inside = [entry for entry in entries if work_of(entry.family) == work]
                outside = [entry for entry in entries if work_of(entry.family) != work]
                fitted = Regression(outside, (self._regression(kind).tile,))
                predicted = fitted.predict_us([entry.key for entry in inside])
                errors.append(np.mean(np.abs(predicted / [entry.mean_us for entry in inside] - 1)))
            self._errors[kind] = float(np.mean(errors))
        return self._errors[kind]

    def _regression(self, kind: str) -> Regression:
        if kind not in self._regressions:
            self._regressions[kind] = Regression(self._kinds[kind])
        return self._regressions[kind]
