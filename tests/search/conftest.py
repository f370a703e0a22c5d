from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from amc_hw.budget.bounds import Bounds
from amc_hw.budget.cost import Cost, Term
from amc_hw.policy import Policy
from amc_hw.search.space import SearchSpace, Step


@dataclass(frozen=True)
class Problem:
    """A made-up network on a made-up device, and how well its pruned versions do."""

    steps: tuple[Step, ...]
    cost: Cost
    budget: float
    wanted: dict[str, float]  # keep ratio of every group that loses no accuracy

    def space(self) -> SearchSpace:
        return SearchSpace(self.steps, self.cost, self.budget)

    def accuracy(self, policy: Policy) -> float:
        missing = [max(0.0, self.wanted[step.group] - policy[step.group] / step.choices[-1]) for step in self.steps]
        return 1.0 - sum(missing) / len(missing)


def _problem(seed: int, groups: int | None = None) -> Problem:
    """A table that is a noisy staircase, under a budget between the least that it reaches and the original.

    Some groups can go with their block.
    """
    draw = random.Random(seed)
    names = [f"g{i}" for i in range(groups or draw.randint(1, 5))]
    choices = {name: tuple(sorted(draw.sample(range(1, 65), draw.randint(1, 6)))) for name in names}
    choices = {name: (0, *counts) if draw.random() < 0.3 else counts for name, counts in choices.items()}

    def term(index: int, pair: tuple[str, ...]) -> Term:
        def value(channels: tuple[int, ...]) -> float:
            work = 1.0
            for count in channels:
                work *= -(-count // 8)
            return work * random.Random(f"{seed} {index} {channels}").uniform(0.7, 1.3)

        return Term(pair, value)

    pairs = [(names[0],), *itertools.pairwise(names), (names[0], names[-1])]
    cost = Cost("latency_ms", [term(i, pair) for i, pair in enumerate(pairs)], draw.uniform(0, 2))
    least = cost(Bounds(cost, choices, 1e9).floor)
    original = cost({name: counts[-1] for name, counts in choices.items()})
    steps = tuple(Step(name, choices[name], (draw.random(), draw.random())) for name in names)
    budget = least + draw.random() * max(0.0, original - least)
    return Problem(steps, cost, budget, {name: draw.uniform(0.3, 1.0) for name in names})


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """Make the problem of a seed; the number of groups is drawn where none is given."""
    return _problem
