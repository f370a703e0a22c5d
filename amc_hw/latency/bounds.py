"""The choices of the next action that leave a budget within reach (AMC, arXiv:1802.03494, algorithm 1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from types import MappingProxyType

from amc_hw.errors import BudgetError, UsageError
from amc_hw.latency.cost import Cost, format_cost
from amc_hw.policy import Policy


class Bounds:
    """Keeps every policy that is decided group by group, in any order, within ``budget``.

    Rounding happens inside the bound: only channel counts that exist are ever offered. Nothing is assumed
    about the shape of the cost, because measured tables are noisy staircases. The floor, which undecided
    groups are taken to be at, is every group's smallest choice, except where a wider one is cheaper. As long
    as the groups decided so far and the floor for the rest fit the budget, the floor's own choice of the next
    group fits, too; so by induction there is always a choice, and a finished policy never costs more than the
    budget.

    Args:
        cost: the budget's cost.
        choices: the channel counts that each group may keep, ascending.
        budget: the largest cost allowed, in the unit of the cost's metric.

    Raises:
        BudgetError: the budget is no positive number, or the floor does not fit; the message says what does.
        UsageError: the choices of a group are missing or do not ascend.
    """

    def __init__(self, cost: Cost, choices: Mapping[str, tuple[int, ...]], budget: float) -> None:
        for group in cost.groups:
            if group not in choices:
                raise UsageError(f"the cost depends on group '{group}', which has no choices; give its channel counts.")
        for group, counts in choices.items():
            if not counts or any(low >= high for low, high in itertools.pairwise(counts)):
                raise UsageError(f"the choices of group '{group}' are {counts}; give channel counts that ascend.")
        if not (math.isfinite(budget) and budget > 0):
            raise BudgetError(f"a budget of {budget} is no limit; give a positive number.")
        self.cost = cost
        self.choices = MappingProxyType(dict(choices))
        self.budget = budget
        self.floor: Policy = MappingProxyType(self._cheapest())
        least = cost(self.floor)
        if not least <= budget:
            enough = format_cost(cost.metric, least * 1.001)  # so that the rounded number is not too small itself
            raise BudgetError(
                f"a budget of {format_cost(cost.metric, budget)} cannot be reached; the least that these choices "
                f"reach is {enough}, so give at least that or allow lower keep ratios."
            )

    def feasible(self, chosen: Policy, group: str) -> tuple[int, ...]:
        """Return the choices of ``group`` with which the budget can still be kept.

        Args:
            chosen: the groups decided so far, each by a choice that was feasible when it was decided.
            group: the group to decide next.

        Returns:
            Channel counts, ascending, at least one.
        """
        costs = self._costs({**self.floor, **chosen}, group)
        return tuple([choice for choice, cost in zip(self.choices[group], costs, strict=True) if cost <= self.budget])

    def _costs(self, policy: dict[str, int], group: str) -> list[float]:
        """Return the cost of ``policy`` with each choice of ``group``: only the terms touching it change."""
        touching = self.cost.touching(group)
        untouched = [self.cost.constant]
        untouched += [self.cost.value(i, policy) for i in range(len(self.cost.terms)) if i not in touching]
        costs = []
        for choice in self.choices[group]:
            policy[group] = choice
            costs.append(math.fsum(untouched + [self.cost.value(i, policy) for i in touching]))
        return costs

    def _cheapest(self) -> dict[str, int]:
        """Return the smallest choices, widened group by group while that makes the policy cheaper."""
        floor = {group: counts[0] for group, counts in self.choices.items()}
        least, before = self.cost(floor), math.inf
        while least < before:
            before = least
            for group, counts in self.choices.items():
                costs = self._costs(dict(floor), group)
                if min(costs) < least:
                    least = min(costs)
                    floor[group] = counts[costs.index(least)]
        return floor
