"""Latency of one family of operators as a function of its channels, learned from the table's entries.

A kernel works in tiles of output channels, so latency is a staircase in them and nearly linear in the input
channels. Which tile it is, is found from the measurements. What the staircase leaves (depthwise kernels
that like some counts, caches that overflow) is learned by trees, which do not smooth across a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from amc_hw.latency.operators import MATMUL_KINDS
from amc_hw.latency.table import Entry

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

TILES = (1, 2, 4, 8, 16, 32, 64)
ENTRIES_FOR_TREES = 24
Floats = NDArray[np.float64]


class Surface:
    """Predicts the operators of one family.

    Args:
        entries: measurements of the family, at least one.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.matmul = entries[0].family.split(" ", 1)[0] in MATMUL_KINDS
        c_in = np.array([entry.c_in for entry in entries], float)
        c_out = np.array([entry.c_out for entry in entries], float)
        measured = np.array([entry.mean_us for entry in entries])
        weights = np.sqrt([entry.count for entry in entries]) * [0.3 if e.unstable else 1.0 for e in entries]
        self.range = ((c_in.min(), c_in.max()), (c_out.min(), c_out.max()))
        self.tile, self._coefficients = 1, np.zeros(0)
        least = np.inf
        for tile in TILES:
            features = self._features(c_in, c_out, tile)
            scale = (weights / measured)[:, None]  # relative errors count, not absolute ones
            coefficients, residual = nnls(features * scale, weights)
            if residual < least * 0.99:  # a wider tile must earn its place
                least, self.tile, self._coefficients = residual, tile, coefficients
        self._trees: ExtraTreesRegressor | None = None
        if len(entries) >= ENTRIES_FOR_TREES:
            from sklearn.ensemble import ExtraTreesRegressor  # it takes a second, which small tables should not pay

            ratio = np.log(measured / self._staircase(c_in, c_out))
            self._trees = ExtraTreesRegressor(60, min_samples_leaf=3, random_state=0)
            self._trees.fit(self._tree_features(c_in, c_out), ratio, sample_weight=weights)

    def _features(self, c_in: Floats, c_out: Floats, tile: int) -> Floats:
        tiles = np.ceil(c_out / tile) * tile
        one = np.ones_like(tiles)
        if self.matmul:
            return np.stack([one, tiles * c_in, tiles, c_in], axis=1)
        return np.stack([one, tiles, c_in], axis=1)

    def _staircase(self, c_in: Floats, c_out: Floats) -> Floats:
        return np.maximum(self._features(c_in, c_out, self.tile) @ self._coefficients, 0.25)

    @staticmethod
    def _tree_features(c_in: Floats, c_out: Floats) -> Floats:
        return np.stack([c_in, c_out, c_in * c_out, c_out % 8, c_out % 16, c_out % 32, c_in % 16], axis=1)

    def predict_us(self, c_in: Floats, c_out: Floats) -> Floats:
        """Return the predicted latency in microseconds for arrays of channel counts."""
        latency = self._staircase(c_in, c_out)
        if self._trees is not None:
            # Beyond the measured channels the trees know nothing of scale: they may only correct, never extrapolate.
            (in_low, in_high), (out_low, out_high) = self.range
            features = self._tree_features(np.clip(c_in, in_low, in_high), np.clip(c_out, out_low, out_high))
            latency = latency * np.exp(self._trees.predict(features))
        return latency

    def covers(self, c_in: int, c_out: int) -> bool:
        """Tell whether the channel counts lie within what was measured."""
        (in_low, in_high), (out_low, out_high) = self.range
        return bool(in_low <= c_in <= in_high and out_low <= c_out <= out_high)
