"""Steps from one policy to another: smaller until it fits, larger until nothing more fits, or a little different."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from amc_hw.budget.bounds import Bounds
from amc_hw.policy import Policy
from amc_hw.search.space import SearchSpace

Choices = Mapping[str, tuple[int, ...]]
TOGGLES = 0.3
"""Share of the moves of a group that decides about a block which leave it out or bring it back."""
_ROUNDING = 1e-9  # of a limit; totals that are updated change by change are more exact than this


class Tally:
    """A policy that is changed group by group, with the share of every limit that it uses.

    Only the terms that a change touches are looked at, so a change costs microseconds in a deep network, too.
    """

    def __init__(self, bounds: Bounds, policy: Policy) -> None:
        self.bounds, self.limits = bounds, bounds.limits
        self.policy = dict(policy)
        self.shares = [limit.share_used(policy) for limit in self.limits]

    def after(self, group: str, channels: int) -> list[float]:
        """Return the share of every limit with ``channels`` in ``group`` instead."""
        before, shares = self.policy[group], []
        for limit, share in zip(self.limits, self.shares, strict=True):
            touching = limit.cost.touching(group)
            old = sum([limit.cost.value(index, self.policy) for index in touching])
            self.policy[group] = channels
            new = sum([limit.cost.value(index, self.policy) for index in touching])
            self.policy[group] = before
            shares.append(share + (new - old) / limit.most)
        return shares

    def change(self, group: str, channels: int) -> None:
        """Keep ``channels`` in ``group`` from now on."""
        self.shares = self.after(group, channels)
        self.policy[group] = channels

    @property
    def fits(self) -> bool:
        """Whether the policy is within the limits."""
        return self._within(self.shares, self.policy)

    def allows(self, group: str, channels: int) -> bool:
        """Tell whether the policy is within the limits with ``channels`` in ``group`` instead."""
        return self._within(self.after(group, channels), {**self.policy, group: channels})

    def _within(self, shares: Sequence[float], policy: Policy) -> bool:
        if abs(max(shares) - 1) <= _ROUNDING:
            return self.bounds.keeps(policy)
        return max(shares) < 1


Prefer = Callable[[str, int, int, float], float]
"""Group, channels it has, channels it would have, and the change of the share, to a number: the change with the highest
is made."""


def shrunk(policy: Policy, choices: Choices, bounds: Bounds, prefer: Prefer) -> dict[str, int]:
    """Take channels away, from one group at a time, until the policy is within the limits.

    A group goes to its nearest smaller count that is cheaper: on a staircase the next notch often saves nothing. Where
    no count of any group makes the policy cheaper, the floor of the bounds is returned, which always fits.
    """
    tally = Tally(bounds, policy)
    while not tally.fits:
        best, most = None, -np.inf
        for group, counts in choices.items():
            present = tally.policy[group]
            for channels in reversed(counts[: counts.index(present)]):
                saved = max(tally.shares) - max(tally.after(group, channels))
                if saved > 0:
                    value = prefer(group, present, channels, saved)
                    if value > most:
                        best, most = (group, channels), value
                    break
        if best is None:
            return dict(policy) if bounds.keeps(policy) else {group: bounds.floor[group] for group in choices}
        tally.change(*best)
    return tally.policy


def grown(policy: Policy, choices: Choices, bounds: Bounds, prefer: Prefer) -> dict[str, int]:
    """Add channels to a policy within the limits, one notch of one group at a time, until nothing more fits.

    A notch that a noisy table makes no dearer is taken, too; what the policy has is never taken away, and blocks
    that it leaves out stay out.
    """
    tally = Tally(bounds, policy)
    while True:
        best, most = None, -np.inf
        for group, counts in choices.items():
            present = tally.policy[group]
            if not present:
                continue
            for channels in counts[counts.index(present) + 1 :]:
                if tally.allows(group, channels):
                    value = prefer(group, present, channels, max(tally.after(group, channels)) - max(tally.shares))
                    if value > most:
                        best, most = (group, channels), value
                    break
        if best is None:
            return tally.policy
        tally.change(*best)


def fit(policy: Policy, choices: Choices, bounds: Bounds) -> dict[str, int]:
    """Make a policy keep limits and use them up, one group at a time.

    Smaller, it loses the channels that give most for the smallest share of its channels (HAQ, arXiv:1811.08886,
    section 3.2, lowers layer by layer until the budget is met); larger, it gains those that are cheapest for the
    largest share.
    """

    def lost(group: str, present: int, channels: int, saved: float) -> float:
        return saved / (1 - channels / present)

    def gained(group: str, present: int, channels: int, share: float) -> float:
        return (1 - present / channels) / max(share, 1e-12)

    return grown(shrunk(policy, choices, bounds, lost), choices, bounds, gained)


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


def at_random(random: np.random.Generator) -> Prefer:
    """Return a preference that lets chance decide."""
    return lambda group, present, channels, change: float(random.random())


def fitted(policy: Policy, space: SearchSpace, random: np.random.Generator) -> dict[str, int]:
    """Make a policy keep the budget and use it up, chance deciding where channels go or come."""
    if space.bounds is None:
        return dict(policy)
    smaller = shrunk(policy, space.choices, space.bounds, at_random(random))
    return grown(smaller, space.choices, space.bounds, at_random(random))


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
        position = step.choices.index(policy[step.group]) + int(random.integers(1, notches + 1)) * random.choice(
            (-1, 1)
        )
        changed[step.group] = step.choices[int(np.clip(position, 0, len(step.choices) - 1))]
    return fitted(changed, space, random)
