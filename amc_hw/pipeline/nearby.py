"""What is measured after a policy that missed its budget, or left some of it: the best of several near it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from amc_hw.budget.bounds import Limit
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.search import Search
from amc_hw.pipeline.shortlist import bounds_of
from amc_hw.policy import Policy
from amc_hw.search.moves import fit, fitted

BY_CHANCE = 4
"""Policies whose channels go or come by chance, so from all groups, beside the one where the cheapest do."""


class Nearby:
    """Finds policies near others, and knows the scores of those that it has seen and of the search's.

    Args:
        job: how policies are scored, and the channel counts of every group.
        search: the finished search.
    """

    def __init__(self, job: Job, search: Search) -> None:
        self._job, self._search = job, search
        self._scores = {_key(episode.channels): episode.accuracy for episode in search.study.episodes}
        self._random = np.random.default_rng(job.config.seed)

    def score(self, policy: Policy) -> float:
        """Return a policy's score, 0..1, before fine-tuning."""
        if _key(policy) not in self._scores:
            self._scores[_key(policy)] = self._job.score(self._search.pruner.pruned(policy).cpu())
        return self._scores[_key(policy)]

    def __call__(self, policy: Policy, limits: tuple[Limit, ...], tried: Collection[Policy]) -> Policy:
        """Return the best policy of some that are made of one by taking channels away or adding them.

        Args:
            policy: the one to begin with.
            limits: what is kept, and used up.
            tried: policies that are not taken again, unless there are no others.

        Raises:
            BudgetError: no channel counts keep the limits.
        """
        bounds = bounds_of(self._job.trained.decisions, limits)
        found = [fit(policy, bounds), *(fitted(policy, bounds, self._random) for _ in range(BY_CHANCE))]
        new = {_key(each): each for each in found if each not in tried}
        if len(new) < 2:
            return next(iter(new.values()), found[0])
        return max(new.values(), key=self.score)


def _key(policy: Policy) -> tuple[tuple[str, int], ...]:
    return tuple(policy.items())
