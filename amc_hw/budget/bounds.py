"""The choices of the next action that leave a budget within reach (AMC, arXiv:1802.03494, algorithm 1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amc_hw.budget.cost import Cost, format_cost
from amc_hw.errors import BudgetError, UsageError
from amc_hw.policy import Policy

_REMEMBERED = 50_000  # alternatives of a group beside certain neighbours, some hundred bytes each


@dataclass(frozen=True)
class Limit:
    """The most that a policy may cost, in the unit of the cost's metric."""

    cost: Cost
    most: float

    def share_used(self, policy: Policy) -> float:
        """Return which share of the limit a policy uses; it keeps the limit up to and including 1."""
        return self.cost(policy) / self.most


@dataclass(frozen=True)
class Alternatives:
    """By how much the other choices of a group would change the share of every limit that a policy uses.

    Attributes:
        present: the position of the group's present choice.
        changes: shape (limits, choices of the group).
        least_growth: the least change by a larger choice, of every limit; infinite where there is none. They are so few
            that plain numbers are quicker than an array.
    """

    present: int
    changes: NDArray[np.float64]
    least_growth: tuple[float, ...]


class OutOfReachError(BudgetError):
    """No choice of channels keeps a limit, or not together with the others.

    Attributes:
        cost: what is limited.
        most: the limit.
        least: what the cheapest choices cost.
        together: whether other limits hold, too.
    """

    def __init__(
        self, cost: Cost, most: float, least: float, *, together: bool, whole: float | None = None, of: str = ""
    ) -> None:
        self.cost, self.most, self.least, self.together = cost, most, least, together
        enough = 1.001 * least  # so that the rounded number is not too small itself
        where = f" on {cost.device}" if cost.device else ""
        super().__init__(
            f"a budget of {_of_whole(cost, most, whole, of)}{where} cannot be reached"
            f"{' together with the other limits' if together else ''}; the least that these choices reach is "
            f"{_of_whole(cost, enough, whole, of)}, so give at least that."
        )

    def as_asked(self, whole: float | None, share: float = 1.0, of: str = "") -> OutOfReachError:
        """Return the same in the words of who asked.

        Args:
            whole: what the original costs, where a share of it was asked for.
            share: which the limit is of what was allowed.
            of: the precision of the original that the share is of, where it was named.
        """
        most, least = self.most / share, self.least / share
        return OutOfReachError(self.cost, most, least, together=self.together, whole=whole, of=of)


def _of_whole(cost: Cost, value: float, whole: float | None, of: str) -> str:
    """Return a cost for people; where shares were asked for, as a share, too, which is not rounded down."""
    written = format_cost(cost.metric, value)
    if whole is None:
        return written
    return f"{written} ({math.ceil(1000 * value / whole - 1e-6) / 1000:g}x{f'-{of}' if of else ''})"


class Bounds:
    """Keeps every policy that is decided group by group, in any order, within one or several limits.

    Rounding happens inside the bound: only channel counts that exist are ever offered. Nothing is assumed
    about the shape of the costs, because measured tables are noisy staircases. The floor, which undecided
    groups are taken to be at, is every group's smallest choice, except where a wider one is cheaper. As long
    as the groups decided so far and the floor for the rest fit the limits, the floor's own choice of the next
    group fits, too; so by induction there is always a choice, and a finished policy never costs more than its
    limits.

    Args:
        cost: the budget's cost.
        choices: the channel counts that each group may keep, ascending.
        budget: the largest cost allowed, in the unit of the cost's metric.
        others: further limits that hold at the same time.

    Raises:
        OutOfReachError: the floor does not fit; the message says what does.
        BudgetError: a limit is no positive number.
        UsageError: the choices of a group are missing or do not ascend.
    """

    def __init__(
        self, cost: Cost, choices: Mapping[str, tuple[int, ...]], budget: float, others: Sequence[Limit] = ()
    ) -> None:
        self.limits = (Limit(cost, budget), *others)
        for group in dict.fromkeys(group for limit in self.limits for group in limit.cost.groups):
            if group not in choices:
                raise UsageError(f"the cost depends on group '{group}', which has no choices; give its channel counts.")
        for group, counts in choices.items():
            if not counts or any(low >= high for low, high in itertools.pairwise(counts)):
                raise UsageError(f"the choices of group '{group}' are {counts}; give channel counts that ascend.")
        for limit in self.limits:
            if not (math.isfinite(limit.most) and limit.most > 0):
                raise BudgetError(f"a budget of {limit.most} is no limit; give a positive number.")
        self.choices = MappingProxyType(dict(choices))
        self._together = {group: self._sharing_terms(group) for group in choices}
        self._alternatives = lru_cache(_REMEMBERED)(self._worked_out)
        self.floor: Policy = MappingProxyType(self._cheapest())
        for limit in self.limits:
            least = limit.cost(self.floor)
            if not least <= limit.most:
                raise OutOfReachError(limit.cost, limit.most, least, together=bool(others))

    def share_used(self, policy: Policy) -> float:
        """Return which share of its limits a policy uses, of the tightest where there are several."""
        return max(limit.share_used(policy) for limit in self.limits)

    def keeps(self, policy: Policy) -> bool:
        """Tell whether a policy is within all limits."""
        return all(limit.cost(policy) <= limit.most for limit in self.limits)

    def alternatives(self, group: str, policy: Policy) -> Alternatives:
        """Return what the other choices of ``group`` would change; what was asked lately is only looked up."""
        return self._alternatives(group, tuple([policy[other] for other in self._together[group]]))

    def _worked_out(self, group: str, channels: tuple[int, ...]) -> Alternatives:
        """Work out the alternatives by the channels of the groups that share terms with ``group``."""
        policy = dict(zip(self._together[group], channels, strict=True))
        present = self.choices[group].index(policy[group])
        costs = [[math.fsum(values) for values in self._touched(limit.cost, policy, group)] for limit in self.limits]
        shares = np.array(costs) / np.array([[limit.most] for limit in self.limits])
        changes = shares - shares[:, present, None]
        return Alternatives(present, changes, tuple(changes[:, present + 1 :].min(axis=1, initial=math.inf).tolist()))

    def feasible(self, chosen: Policy, group: str) -> tuple[int, ...]:
        """Return the choices of ``group`` with which the limits can still be kept.

        Args:
            chosen: the groups decided so far, each by a choice that was feasible when it was decided.
            group: the group to decide next.

        Returns:
            Channel counts, ascending, at least one.
        """
        fitting = self.choices[group]
        for limit in self.limits:
            costs = self._costs(limit.cost, {**self.floor, **chosen}, group)
            pairs = zip(self.choices[group], costs, strict=True)
            fits = {choice for choice, cost in pairs if cost <= limit.most}
            fitting = tuple([choice for choice in fitting if choice in fits])
        return fitting

    def _sharing_terms(self, group: str) -> tuple[str, ...]:
        terms = [limit.cost.terms[index] for limit in self.limits for index in limit.cost.touching(group)]
        return tuple(dict.fromkeys([group, *[other for term in terms for other in term.groups]]))

    def _costs(self, cost: Cost, policy: Policy, group: str) -> list[float]:
        """Return the cost of ``policy`` with each choice of ``group``: only the terms touching it change."""
        touching = cost.touching(group)
        untouched = [cost.constant]
        untouched += [cost.value(i, policy) for i in range(len(cost.terms)) if i not in touching]
        return [math.fsum(untouched + touched) for touched in self._touched(cost, policy, group)]

    def _touched(self, cost: Cost, policy: Policy, group: str) -> list[list[float]]:
        """Return, with each choice of ``group``, what the terms add that touch it."""
        chosen, touching = dict(policy), cost.touching(group)
        found = []
        for choice in self.choices[group]:
            chosen[group] = choice
            found.append([cost.value(index, chosen) for index in touching])
        return found

    def _cheapest(self) -> dict[str, int]:
        """Return the smallest choices, changed group by group while that lowers the share of the limits used."""
        floor = {group: counts[0] for group, counts in self.choices.items()}
        least, before = self.share_used(floor), math.inf
        while least < before:
            before = least
            for group, counts in self.choices.items():
                shares = self._shares(dict(floor), group)
                if min(shares) < least:
                    least = min(shares)
                    floor[group] = counts[shares.index(least)]
        return floor

    def _shares(self, policy: dict[str, int], group: str) -> list[float]:
        """Return the share of the tightest limit that ``policy`` uses with each choice of ``group``."""
        shares = [[c / limit.most for c in self._costs(limit.cost, policy, group)] for limit in self.limits]
        return [max(at_choice) for at_choice in zip(*shares, strict=True)]
