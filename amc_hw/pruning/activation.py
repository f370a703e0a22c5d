"""What an activation cuts off need not be fitted: below zero, a ReLU cannot tell how far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """How an activation sees a layer's results: scaled and shifted, then cut off outside of its linear range.

    Attributes:
        scale: what results are multiplied with, by the batch norm behind them (outputs,); infinite where they should
            be fitted exactly.
        shift: what is added: by the batch norm, and by the other side of a sum, (outputs,) or (rows, outputs).
        linear_range: values that the activation leaves as they are; (0, inf) of a ReLU.
    """

    scale: Tensor
    shift: Tensor
    linear_range: tuple[float, float]

    def nearest(self, given: Tensor, wanted: Tensor) -> Tensor:
        """Return the results nearest to the given ones that the activation takes for the wanted ones.

        Zhang et al. (arXiv:1505.06798, section 3.3) fit what a ReLU gives, too; here this is one step of projecting
        onto what it cannot tell apart.

        Args:
            given: (rows, outputs).
            wanted: (rows, outputs).
        """
        low, high = self.linear_range
        ours, theirs = (self.scale * each + self.shift for each in (given, wanted))
        below, above = torch.clamp(ours, max=low), torch.clamp(ours, min=high)
        nearest = torch.where(theirs <= low, below, torch.where(theirs >= high, above, theirs))
        return torch.where(torch.isfinite(self.scale), (nearest - self.shift) / self.scale, wanted)
