"""What is searched: the steps of an episode, the state the agent sees before each, and the choices it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amc_hw.budget.bounds import Bounds, Limit
from amc_hw.budget.cost import Cost
from amc_hw.errors import UsageError
from amc_hw.policy import Policy


@dataclass(frozen=True)
class Step:
    """One action of an episode: how many channels of ``group`` to keep.

    Attributes:
        group: the channel group that is decided.
        choices: channel counts to choose from, ascending; the last one is the original's. The first is 0 where the
            group can go with its residual block.
        features: what is known beforehand about the layer that the action decides, unscaled. The paper's are
            output channels n, input channels c, height h, width w, stride and kernel size k.
    """

    group: str
    choices: tuple[int, ...]
    features: tuple[float, ...]


class SearchSpace:
    """The steps of an episode, what policies cost, and the bounds that a budget sets.

    The state of step t is that of AMC (arXiv:1802.03494, section 3.1), every entry in 0..1: t and the step's
    features and cost[t], each min-max scaled over the steps; then reduced, rest and the keep ratio of the
    step before. cost[t] is what the terms touching the group cost in the original network; reduced is the
    cost that the decisions so far have removed; rest is the cost now of the terms that later steps touch.
    reduced and rest are fractions of the original network's cost at every step, the first included.

    Args:
        steps: in network order, each with as many features as the others.
        cost: what the states and the budget are told in.
        budget: the limit that bounds keep, in the cost's unit; without one every choice is feasible.
        others: limits on other costs that hold at the same time as the budget.

    Raises:
        BudgetError: no policy reaches the budget.
        UsageError: no steps, uneven features, or an original network that costs nothing.
    """

    def __init__(
        self, steps: Sequence[Step], cost: Cost, budget: float | None = None, others: Sequence[Limit] = ()
    ) -> None:
        if not steps:
            raise UsageError("the network has no channel group to prune; choose another network.")
        if len({len(step.features) for step in steps}) > 1:
            raise UsageError("the steps differ in their number of features; give every step the same ones.")
        self.steps = tuple(steps)
        self.cost = cost
        choices = {step.group: step.choices for step in steps}
        self.choices = choices
        self.bounds = None if budget is None else Bounds(cost, choices, budget, others)
        self.original: Policy = {step.group: step.choices[-1] for step in steps}
        self.original_cost = cost(self.original)
        if not self.original_cost > 0:
            raise UsageError(f"the original network's {cost.metric} is {self.original_cost}; it must be positive.")
        values = cost.values(self.original)
        share = [math.fsum(values[i] for i in cost.touching(step.group)) for step in steps]
        rows = [(t, *step.features, share[t]) for t, step in enumerate(steps)]
        self.static = _min_max(np.array(rows, dtype=np.float64))
        self.later_terms = [
            sorted({i for later in steps[t + 1 :] for i in cost.touching(later.group)}) for t in range(len(steps))
        ]

    @property
    def state_size(self) -> int:
        """The number of entries of a state: 11 with the paper's features."""
        return len(self.static[0]) + 3

    def share_used(self, policy: Policy) -> float:
        """Return which share of the limits a policy uses; without limits, which share of the original's cost."""
        return self.cost(policy) / self.original_cost if self.bounds is None else self.bounds.share_used(policy)

    def keeps(self, policy: Policy) -> bool:
        """Tell whether a policy is within all limits."""
        return self.bounds is None or self.bounds.keeps(policy)

    def feasible(self, chosen: Policy, t: int) -> tuple[int, ...]:
        """Return the choices of step ``t`` that keep the budget within reach, after ``chosen``."""
        step = self.steps[t]
        return step.choices if self.bounds is None else self.bounds.feasible(chosen, step.group)

    def rollout(self) -> Rollout:
        """Start an episode."""
        return Rollout(self)


class Rollout:
    """An episode under way: call ``state`` and ``decide`` until it is ``done``, then take its ``policy``."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.policy: dict[str, int] = {}
        self._last_ratio = 1.0

    @property
    def done(self) -> bool:
        """Whether every step has been decided."""
        return len(self.policy) == len(self.space.steps)

    def state(self) -> NDArray[np.float32]:
        """Return the state before the next decision; after the last one, the last step's with the outcome."""
        space = self.space
        t = min(len(self.policy), len(space.steps) - 1)
        now = {**space.original, **self.policy}
        values = space.cost.values(now)
        total = math.fsum((*values, space.cost.constant))
        reduced = 1.0 - total / space.original_cost
        rest = math.fsum(values[i] for i in space.later_terms[t]) / space.original_cost
        state = np.array([*space.static[t], reduced, rest, self._last_ratio], dtype=np.float32)
        return np.clip(state, 0.0, 1.0)

    def decide(self, action: float) -> float:
        """Decide the next step by the feasible choice nearest to ``action``; return the executed ratio."""
        t = len(self.policy)
        step = self.space.steps[t]
        channels = step.choices[-1]
        target = action * channels
        feasible = self.space.feasible(self.policy, t)
        self.policy[step.group] = min(feasible, key=lambda choice: abs(choice - target))
        self._last_ratio = self.policy[step.group] / channels
        return self._last_ratio


def _min_max(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale every column to 0..1; a column that does not vary becomes 0."""
    low, high = columns.min(axis=0), columns.max(axis=0)
    scaled: NDArray[np.float64] = (columns - low) / np.where(high > low, high - low, 1.0)
    return scaled
