"""The range of an activation, from what it was on every calibration image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUT_OFF = 0.03
"""Share of the images whose extremes lie outside of a range, on either side: a few odd images widen none."""


def range_of(lowest: NDArray[np.float32], highest: NDArray[np.float32]) -> tuple[float, float]:
    """Return the range of a tensor whose least and greatest values on every image are given (images,)."""
    low = np.quantile(lowest, CUT_OFF, method="higher")
    high = np.quantile(highest, 1 - CUT_OFF, method="lower")
    return float(low), float(high)
