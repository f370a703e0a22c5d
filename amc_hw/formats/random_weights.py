"""Random weights of any shape, for files that are timed and not used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amc_hw.latency.operators import Shape


class RandomWeights:
    """Weights that keep the activations' scale (He et al. 2015), so that no denormal numbers slow the run."""

    def __init__(self, random: np.random.Generator) -> None:
        self._pool = random.standard_normal(1 << 16, dtype=np.float32)

    def __call__(self, shape: Shape, original: NDArray[Any]) -> NDArray[Any]:
        """Return weights of a shape (out, ...), float32 or of the original's type.

        Vectors (biases, a norm's scales and variances, which must not be negative) repeat the original's values, and
        so do integers: their scale is apart.
        """
        if math.prod(shape) == max(shape, default=1) or original.dtype.kind != "f":
            repeated: NDArray[Any] = np.resize(original, shape).astype(original.dtype)
            return repeated
        scaled = self._pool * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        filters: NDArray[np.float32] = np.resize(scaled, shape)
        return filters.astype(original.dtype)
