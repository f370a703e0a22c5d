"""A network in operators that TFLite has, and that its converter lays channels last."""

from __future__ import annotations

from typing import Any

from torch import nn

from amc_hw.formats.tflite.expanded import Unexpanded
from amc_hw.formats.tflite.pools import PlainPools
from amc_hw.formats.tflite.reductions import KeptSides
from amc_hw.formats.tflite.transposed import CroppedConvolutions


class Rewritten(nn.Module):
    """A network that computes the same by such operators; see the modes that `forward` enters.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, *inputs: Any) -> Any:
        """Run the network."""
        with CroppedConvolutions(), KeptSides(), PlainPools(), Unexpanded():
            return self.model(*inputs)
