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
        ends = [(end - self.shift) / self.scale for end in self.linear_range]
        low, high = torch.minimum(*ends), torch.maximum(*ends)
        exact = ~self.scale.isfinite()
        low[..., exact], high[..., exact] = -torch.inf, torch.inf
        # Products with comparisons, because `torch.where` takes ten times as long for many rows.
        nearest = wanted.clamp(low, high)
        if low.max() > -torch.inf:
            nearest += (given - low).clamp_(max=0).mul_(torch.le(wanted, low, out=torch.empty_like(wanted)))
        if high.min() < torch.inf:
            nearest += (given - high).clamp_(min=0).mul_(torch.ge(wanted, high, out=torch.empty_like(wanted)))
        return nearest
