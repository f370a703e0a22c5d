"""Steps from one policy to another: smaller until it fits, larger until nothing more fits, or a little different."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amc_hw.budget.bounds import Bounds
from amc_hw.policy import Policy
from amc_hw.search.space import SearchSpace

Choices = Mapping[str, tuple[int, ...]]
TOGGLES = 0.3
"""Share of the moves of a group that decides about a block which leave it out or bring it back."""
_ROUNDING = 1e-9  # of a limit; totals that are updated change by change are more exact than this


class Tally:
    """A policy that is changed group by group, with the share of every limit that it uses.

    Only the terms that a change touches are looked at, and of them all choices of the group at once, so a change
    costs microseconds in a deep network, too.

    Attributes:
        policy: the policy as it is now; change it by `change` only.
        shares: which share of every limit it uses, shape (limits,).
    """

    def __init__(self, bounds: Bounds, policy: Policy) -> None:
        self.bounds = bounds
        self.policy = dict(policy)
        self.shares = np.array([limit.share_used(policy) for limit in bounds.limits])

    def after(self, group: str) -> NDArray[np.float64]:
        """Return the share of every limit with each choice of ``group`` instead, shape (limits, choices)."""
        return self.shares[:, None] + self.bounds.alternatives(group, self.policy).changes

    def position(self, group: str) -> int:
        """Return which of the choices of ``group`` the policy has."""
        return self.bounds.choices[group].index(self.policy[group])

    def change(self, group: str, channels: int) -> None:
        """Keep ``channels`` in ``group`` from now on."""
        self.shares = self.after(group)[:, self.bounds.choices[group].index(channels)]
        self.policy[group] = channels

    @property
    def fits(self) -> bool:
        """Whether the policy is within the limits."""
        return self._within(float(self.shares.max()), self.policy)

    def fitting(self, group: str, positions: Iterable[int]) -> Iterator[int]:
        """Yield those positions among the choices of ``group`` with which the policy is within the limits."""
        shares = self.after(group).max(axis=0)
        for position in positions:
            if shares[position] <= 1 + _ROUNDING:
                channels = self.bounds.choices[group][position]
                if self._within(float(shares[position]), {**self.policy, group: channels}):
                    yield position

    def next_larger(self, group: str) -> int | None:
        """Return the position of the next larger choice of ``group`` with which the policy is within the limits."""
        alternatives = self.bounds.alternatives(group, self.policy)
        least = zip(self.shares.tolist(), alternatives.least_growth, strict=True)
        if any(share + growth > 1 + _ROUNDING for share, growth in least):
            return None
        return next(self.fitting(group, range(alternatives.present + 1, alternatives.changes.shape[1])), None)

    def _within(self, share: float, policy: Policy) -> bool:
        return self.bounds.keeps(policy) if abs(share - 1) <= _ROUNDING else share < 1


@dataclass(frozen=True)
class Move:
    """A group that could go from the channels it has to others, and by how much the share of the limits changes."""

    group: str
    present: int
    channels: int
    change: float


Choose = Callable[[Sequence[str], Callable[[str], Move | None]], Move | None]
"""Chooses among the moves of groups: takes the groups, and what tells the move of a group or that it has none."""


def best(worth: Callable[[Move], float]) -> Choose:
    """Return a choice of the move that is worth most."""

    def choose(groups: Sequence[str], move_of: Callable[[str], Move | None]) -> Move | None:
        return max(filter(None, map(move_of, groups)), key=worth, default=None)

    return choose


def by_chance(random: np.random.Generator) -> Choose:
    """Return a choice that is left to chance: all moves are equally likely."""

    def choose(groups: Sequence[str], move_of: Callable[[str], Move | None]) -> Move | None:
        return next(filter(None, (move_of(groups[index]) for index in random.permutation(len(groups)))), None)

    return choose


def shrunk(policy: Policy, bounds: Bounds, choose: Choose) -> dict[str, int]:
    """Take channels away, from one group at a time, until the policy is within the limits.

    A group goes to its nearest smaller count that is cheaper: on a staircase the next notch often saves nothing. Where
    no count of any group makes the policy cheaper, the floor of the bounds is returned, which always fits.
    """
    tally = Tally(bounds, policy)

    def cheaper(group: str) -> Move | None:
        position, used = tally.position(group), tally.shares.max()
        saved = used - tally.after(group).max(axis=0)[:position]
        saving = np.flatnonzero(saved > 0)
        if not len(saving):
            return None
        nearest = int(saving[-1])
        return Move(group, tally.policy[group], bounds.choices[group][nearest], float(saved[nearest]))

    while not tally.fits:
        move = choose(tuple(bounds.choices), cheaper)
        if move is None:
            return dict(policy) if bounds.keeps(policy) else dict(bounds.floor)
        tally.change(move.group, move.channels)
    return tally.policy


def grown(policy: Policy, bounds: Bounds, choose: Choose) -> dict[str, int]:
    """Add channels to a policy within the limits, one notch of one group at a time, until nothing more fits.

    A notch that a noisy table makes no dearer is taken, too; what the policy has is never taken away, and blocks
    that it leaves out stay out.
    """
    tally = Tally(bounds, policy)

    def larger(group: str) -> Move | None:
        position = tally.next_larger(group)
        if position is None:
            return None
        change = tally.after(group)[:, position].max() - tally.shares.max()
        return Move(group, tally.policy[group], bounds.choices[group][position], float(change))

    while True:
        move = choose([group for group in bounds.choices if tally.policy[group]], larger)
        if move is None:
            return tally.policy
        tally.change(move.group, move.channels)


def fit(policy: Policy, bounds: Bounds) -> dict[str, int]:
    """Make a policy keep limits and use them up, one group at a time.

    Smaller, it loses the channels that give most for the smallest share of its channels (HAQ, arXiv:1811.08886,
    section 3.2, lowers layer by layer until the budget is met); larger, it gains those that are cheapest for the
    largest share.
    """

    def lost(move: Move) -> float:
        return move.change / (1 - move.channels / move.present)

    def gained(move: Move) -> float:
        return (1 - move.present / move.channels) / max(move.change, 1e-12)

    return grown(shrunk(policy, bounds, best(lost)), bounds, best(gained))


def largest_uniform(choices: Choices, bounds: Bounds | None) -> tuple[float, Policy]:
    """Return the largest single keep ratio whose policy is within the limits, with that policy.

    A group keeps its largest choice that is not over the ratio, or its smallest where all are; no block is left
    out where the limits allow it. Only finitely many ratios differ in their policy, so all are tried from the top;
    bisection could miss the largest, because measured costs are not monotone.
    """
    choices = {group: tuple(count for count in counts if count) for group, counts in choices.items()}
    if bounds is None:
        return 1.0, {group: counts[-1] for group, counts in choices.items()}
    ratios = sorted({count / counts[-1] for counts in choices.values() for count in counts}, reverse=True)
    for ratio in ratios:
        policy = {
            group: max([count for count in counts if count / counts[-1] <= ratio], default=counts[0])
            for group, counts in choices.items()
        }
        if bounds.keeps(policy):
            return ratio, policy
    return ratios[-1], bounds.floor


def fitted(policy: Policy, bounds: Bounds | None, random: np.random.Generator) -> dict[str, int]:
    """Make a policy keep limits, if there are any, and use them up, chance deciding where channels go or come."""
    if bounds is None:
        return dict(policy)
    return grown(shrunk(policy, bounds, by_chance(random)), bounds, by_chance(random))


def varied(
    policy: Policy, space: SearchSpace, random: np.random.Generator, groups: int, notches: int
) -> dict[str, int]:
    """Move ``groups`` groups up or down by up to ``notches`` choices each, and fit the result to the budget.

    A group that decides about a block now and then takes it out, or brings it back whole.
    """
    changed = dict(policy)
    for index in random.choice(len(space.steps), min(groups, len(space.steps)), replace=False):
        step = space.steps[index]
        if not step.choices[0] and random.random() < TOGGLES:
            changed[step.group] = 0 if policy[step.group] else step.choices[-1]
            continue
        moved = step.choices.index(policy[step.group]) + random.choice((-1, 1)) * int(random.integers(1, notches + 1))
        changed[step.group] = step.choices[max(0, min(moved, len(step.choices) - 1))]
    return fitted(changed, space.bounds, random)
