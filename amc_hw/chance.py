"""What chance does to an accuracy."""

from __future__ import annotations

import math


def standard_error(accuracy: float, images: int) -> float:
    """Return the standard error of an accuracy, 0..1, which is not 0 where all images are right.

    Two images that are right and two that are wrong are added (Agresti and Coull 1998).
    """
    share = (accuracy * images + 2) / (images + 4)
    return math.sqrt(share * (1 - share) / (images + 4))
