"""A search with a known best policy, and how far a policy is from it."""

from __future__ import annotations

import statistics

import numpy as np

from amc_hw.budget.cost import Cost, Term
from amc_hw.policy import Policy
from amc_hw.search.space import SearchSpace, Step
from amc_hw.search.strategy import Result, Strategy

CHOICES = tuple(range(8, 65, 8))
FEATURES = np.random.default_rng(3).random((12, 2))
BEST = {f"g{i}": CHOICES[int(8 * wanted)] for i, (wanted, _) in enumerate(FEATURES)}


def toy(share: float = 1.0) -> SearchSpace:
    """Twelve groups whose best channel counts follow from their features; the budget is a share of what they cost."""
    cost = Cost("macs", [Term((group,), lambda channels: 1000.0 * channels[0]) for group in BEST])
    steps = [Step(f"g{i}", CHOICES, tuple(row)) for i, row in enumerate(FEATURES)]
    return SearchSpace(steps, cost, budget=share * cost(BEST))


def loss(policy: Policy) -> float:
    """Return the mean square of what a policy's keep ratios are off the best ones."""
    return statistics.mean(((policy[group] - count) / 64) ** 2 for group, count in BEST.items())


def play_toy(strategy: Strategy, space: SearchSpace) -> float:
    """Play one episode and return its loss."""
    policy = strategy.ask()
    error = loss(policy)
    strategy.tell(policy, Result(1 - error, -error, space.cost(policy)))
    return error
