"""More right images than chance would give."""

from __future__ import annotations

import math

import pytest
import torch

from amc_hw.training.evaluation import chance_of, clearly_more


@pytest.mark.parametrize(
    ("won", "lost", "clearly"), [(0, 0, False), (4, 0, False), (5, 0, True), (8, 2, False), (9, 1, True), (0, 9, False)]
)
def test_what_differs_decides(won: int, lost: int, clearly: bool) -> None:
    alike = torch.ones(500, dtype=torch.bool)
    now = torch.cat([alike, torch.ones(won, dtype=torch.bool), torch.zeros(lost, dtype=torch.bool)])
    before = torch.cat([alike, torch.zeros(won, dtype=torch.bool), torch.ones(lost, dtype=torch.bool)])
    assert clearly_more(now, before) == clearly


@pytest.mark.parametrize(("right", "images", "share"), [(0, 7, 0.3), (7, 7, 0.3), (5, 5, 0.5), (12, 40, 0.1)])
def test_the_chance_of_a_guess_is_the_tail_of_a_binomial_distribution(right: int, images: int, share: float) -> None:
    tail = sum(math.comb(images, n) * share**n * (1 - share) ** (images - n) for n in range(right, images + 1))
    assert chance_of(right, images, share) == pytest.approx(tail)
