"""How much of its latency budget a policy uses on each device, and what the last benchmarks there found over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from amc_hw.budget.budget import Budget
from amc_hw.budget.cost import Cost
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.search import Search
from amc_hw.policy import Policy
from amc_hw.profiling.timing import Timing, share_doubt, share_used
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import Miss

PolicyItems: TypeAlias = tuple[tuple[str, int], ...]

WELL_USED = 0.95
"""The least share of a latency budget that a policy should use by the clock."""
MOST_DOUBT = (1 - WELL_USED) / 2
"""Of a measurement, as a share: aimed further below the target than this, policies would not use their budget."""


@dataclass(frozen=True)
class Use:
    """How much of a latency budget a policy uses on the device: shares, because the device's speed changes.

    Attributes:
        share: as it was measured, times what the last benchmark took longer than such a measurement.
        doubt: standard error of the share, as a share of it.
        missed: what the last benchmark of this very policy found; 0 where there was none.
    """

    share: float
    doubt: float
    missed: float = 0.0

    @property
    def most(self) -> float:
        """The share, with what is in doubt counted against the policy."""
        return max(self.share * (1 + self.doubt), self.missed)

    @property
    def least(self) -> float:
        """The share that is used for sure."""
        return self.share * (1 - self.doubt)


@dataclass(frozen=True)
class Place:
    """A device that is measured, with its latency budget.

    Attributes:
        target: the budget in milliseconds, by the table.
        folder: what was found there, the policies among it that the last benchmark found over the budget.
    """

    name: str
    budget: Budget
    cost: Cost
    target: float
    folder: RunFolder

    def use(self, policy: Policy, timings: Mapping[str, Timing]) -> Use:
        """Return how much of its budget a policy uses, as the last benchmark should find it."""
        candidate, original = timings["candidate"], timings["original"]
        found = share_used(self.budget, candidate, original)
        self._measured_again(policy, found)
        miss = missed_policies(self.folder).get(tuple(policy.items()))
        doubt = min(MOST_DOUBT, share_doubt(self.budget, candidate, original))
        return Use(self.slower * found, doubt, 0.0 if miss is None else miss.used)

    def off(self, use: Use, policy: Policy) -> float:
        """Return how many times as much of its budget a policy uses here as the table says."""
        return use.most / (self.cost(policy) / self.target)

    @property
    def slower(self) -> float:
        """How many times as long as a measurement on the way the last benchmark takes, by what it missed."""
        return max([1.0, *(miss.used / miss.found for miss in self.folder.misses.read())])

    def _measured_again(self, policy: Policy, found: float) -> None:
        """Hold what the last benchmark missed by against what is measured now.

        The device may have had another speed when the policy was chosen, at which it used another share of its budget;
        the policies that are measured from here on have the present speed.
        """
        misses = self.folder.misses
        if (known := misses.read()) and known[-1].channels == policy:
            misses.drop_last()
            misses.append(known[-1].model_copy(update={"found": found}))


def places_of(job: Job, search: Search) -> list[Place]:
    """Return the devices that are measured, the run's own first; none where it has no latency budget."""
    budget, name = search.latency_budget, job.device.name
    if budget is None:
        return []
    target = budget.allowed(search.costs.whole("latency_ms", search.original, budget.of))
    places = [Place(name, budget, search.costs.latency_ms, target, job.run)]
    for other, limit in zip(job.others, search.elsewhere, strict=True):
        if other.device.in_reach:
            places.append(Place(limit.cost.device, other.budget, limit.cost, limit.most, other.folder))
    return places


def missed_policies(run: RunFolder) -> dict[PolicyItems, Miss]:
    """Return the misses of a run by their policies' items."""
    return {tuple(miss.channels.items()): miss for miss in run.misses.read()}


def chosen_and_missed(job: Job) -> Policy | None:
    """Return the chosen policy where the last benchmark found it over the budget of one of the devices."""
    policy = job.run.policy.find()
    folders = (job.run, *(other.folder for other in job.others))
    if policy is None or all(tuple(policy.channels.items()) not in missed_policies(each) for each in folders):
        return None
    return dict(policy.channels)
