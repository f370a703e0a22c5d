"""The rows that a fresh least-squares fit works on, as AMC's official code gathers them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from amc_hw.pruning.formulas import Formulas, Operands
from amc_hw.pruning.positions import PositionSampler


def gather_rows(model: nn.Module, names: Iterable[str], images: Tensor, points: int) -> dict[str, Tensor]:
    """Return the inputs (rows, inputs x kernel area) of layers at sampled positions of every image."""
    modules = dict(model.named_modules())
    rows: dict[str, list[Tensor]] = {name: [] for name in names}

    def gather(name: str, called: Operands) -> None:
        rows[name].append(PositionSampler(points, 0, name).inputs(called)[:, 0])

    with torch.no_grad(), Formulas({name: modules[name] for name in rows}, before=gather):
        for batch in torch.split(images, 64):
            model(batch)
    return {name: torch.cat(parts) for name, parts in rows.items()}
