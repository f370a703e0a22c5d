"""HALP's search (arXiv:2110.10811): every channel has an importance and costs latency; fill the knapsack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from amc_hw.budget.bounds import Bounds
from amc_hw.errors import UsageError
from amc_hw.policy import Policy
from amc_hw.search.moves import Move, Tally, best, grown, shrunk
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Result, Strategy

Importance = Mapping[str, Sequence[float]]
"""For every group the importance of its channels, in the order in which they are kept: the first is kept longest."""

Worths = Mapping[str, Mapping[int, float]]
"""For every group, in network order, its choices with what each is worth."""

_BISECTIONS = 24


class KnapsackStrategy(Strategy):
    """The policy of the highest importance within the budget, then those of importances that are less sure.

    Later episodes multiply each group's importance by a random factor. Without a budget, every later episode
    draws one.

    Args:
        space: what is searched.
        seed: where all its chance comes from.
        importance: of every group's channels. Without it all groups are worth the same, and the n-th channel
            of a group the n-th part of its first.
    """

    doubt = 0.5  # standard deviation of the factors' logarithms

    def __init__(self, space: SearchSpace, seed: int, importance: Importance | None = None) -> None:
        self.space = space
        self.random = np.random.default_rng(seed)
        self.worths: dict[str, dict[int, float]] = {}
        for step in space.steps:
            ranked = [1.0 / (n + 1) for n in range(step.choices[-1])] if importance is None else importance[step.group]
            self.worths[step.group] = {count: math.fsum(ranked[:count]) for count in step.choices}
        self.whole = _worth(space.original, self.worths)
        self.asked = False

    def ask(self) -> Policy:
        """Solve the knapsack, later one with other importances."""
        doubt, self.asked = self.doubt * self.asked, True
        factors = np.exp(self.random.normal(0.0, doubt, len(self.space.steps)))
        if self.space.bounds is not None:
            bounds = self.space.bounds
        elif not doubt:
            return self.space.original
        else:
            roomy = Bounds(self.space.cost, self.space.choices, 1e6 * self.space.original_cost)
            least = self.space.cost(roomy.floor)
            budget = least + self.random.uniform() * max(0.0, self.space.original_cost - least)
            bounds = Bounds(self.space.cost, self.space.choices, budget)
        values = {
            group: {count: factor * worth for count, worth in worths.items()}
            for (group, worths), factor in zip(self.worths.items(), factors, strict=True)
        }
        return fill_knapsack(values, bounds)

    def tell(self, policy: Policy, result: Result) -> None:
        """Learn nothing."""

    def fitted(self, policy: Policy) -> dict[str, int]:
        """Make a policy keep the limits and use them up, by the importance that goes or comes for a share of them.

        Raises:
            UsageError: the space has no limits.
        """
        bounds = self.space.bounds
        if bounds is None:
            raise UsageError("a space without limits has none to keep; give it a budget.")

        def lost(move: Move) -> float:
            worth = self.worths[move.group]
            return move.change / max(worth[move.present] - worth[move.channels], 1e-12)

        return _filled(shrunk(policy, bounds, best(lost)), self.worths, bounds)

    def lost(self, policy: Policy) -> float:
        """Return which share of all importance a policy gives up, 0..1."""
        return 1.0 - _worth(policy, self.worths) / self.whole


def fill_knapsack(values: Worths, bounds: Bounds) -> dict[str, int]:
    """Return a policy within the limits whose groups are worth nearly as much together as can be.

    HALP's knapsack takes a channel's cost to be its own; here it depends on its neighbours' channels, too. So
    the price of latency is bisected (Lagrange): for one price, every group in turn takes its best choice until
    none changes. What is left is filled up, and pairs of groups exchange channels while that is worth more.

    Args:
        values: what every choice is worth.
        bounds: the limits.
    """
    chosen, most = dict(bounds.floor), _worth(bounds.floor, values)
    low, high = 0.0, 1e3 * max(max(worth.values()) for worth in values.values())
    for _ in range(_BISECTIONS):
        price = (low + high) / 2 if low == 0 else math.sqrt(low * high)
        policy = _at_price(price, values, bounds)
        if not bounds.keeps(policy):
            low = price
            continue
        high = price
        filled = _filled(policy, values, bounds)
        if _worth(filled, values) > most:
            chosen, most = filled, _worth(filled, values)
    return _exchanged(chosen, values, bounds)


def _worth(policy: Policy, values: Worths) -> float:
    return math.fsum(worth[policy[group]] for group, worth in values.items())


def _at_price(price: float, values: Worths, bounds: Bounds) -> dict[str, int]:
    """Let every group take the choice that is worth most after what it costs, until none changes."""
    tally = Tally(bounds, {group: counts[-1] for group, counts in bounds.choices.items()})
    worths = {group: np.array([worth[count] for count in bounds.choices[group]]) for group, worth in values.items()}
    for _ in range(len(values) + 1):  # costs that depend on each other could go round in circles
        before = dict(tally.policy)
        for group, worth in worths.items():
            profits = worth - price * tally.after(group).sum(axis=0)
            tally.change(group, bounds.choices[group][int(profits.argmax())])
        if tally.policy == before:
            break
    return tally.policy


def _filled(policy: Policy, values: Worths, bounds: Bounds) -> dict[str, int]:
    """Use the limits up, by worth for each share of them."""

    def gained(move: Move) -> float:
        worth = values[move.group]
        return (worth[move.channels] - worth[move.present]) / max(move.change, 1e-12)

    return grown(policy, bounds, best(gained))


def _exchanged(policy: Policy, values: Worths, bounds: Bounds) -> dict[str, int]:
    """Widen one group by a notch at the cost of another as long as that is worth more."""
    tally, improved = Tally(bounds, policy), True
    while improved:
        improved = False
        for wider, narrower in itertools.permutations(bounds.choices, 2):
            before, position = tally.policy[wider], tally.position(wider) + 1
            if position == len(bounds.choices[wider]):
                continue
            notch = bounds.choices[wider][position]
            gain = values[wider][notch] - values[wider][before]
            counts, worth = bounds.choices[narrower], values[narrower]
            has = worth[tally.policy[narrower]]
            given = [i for i in range(tally.position(narrower)) if has - worth[counts[i]] < gain * (1 - 1e-9)]
            if given:
                tally.change(wider, notch)
                fitting = list(tally.fitting(narrower, given))
                if fitting:
                    tally.change(narrower, counts[fitting[-1]])
                    improved = True
                else:
                    tally.change(wider, before)
    return tally.policy
