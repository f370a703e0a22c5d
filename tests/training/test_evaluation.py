"""More right images than chance would give."""

from __future__ import annotations

import pytest
import torch

from amc_hw.training.evaluation import clearly_more


@pytest.mark.parametrize(
    ("won", "lost", "clearly"), [(0, 0, False), (4, 0, False), (5, 0, True), (8, 2, False), (9, 1, True), (0, 9, False)]
)
def test_what_differs_decides(won: int, lost: int, clearly: bool) -> None:
    alike = torch.ones(500, dtype=torch.bool)
    now = torch.cat([alike, torch.ones(won, dtype=torch.bool), torch.zeros(lost, dtype=torch.bool)])
    before = torch.cat([alike, torch.zeros(won, dtype=torch.bool), torch.ones(lost, dtype=torch.bool)])
    assert clearly_more(now, before) == clearly
