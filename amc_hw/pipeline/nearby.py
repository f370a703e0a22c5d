"""What is measured after a policy that missed its budget, or left some of it: the best of several near it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from torch import nn

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
        self._scores = {tuple(episode.channels.items()): episode.accuracy for episode in search.study.episodes}
        self._random = np.random.default_rng(job.config.seed)

    def score(self, policy: Policy, model: nn.Module | None = None) -> float:
        """Return a policy's score, 0..1, before fine-tuning; ``model`` is its network, where that is at hand."""
        key = tuple(policy.items())
        if key not in self._scores:
            network = self._search.pruner.pruned(policy).cpu() if model is None else model
            self._scores[key] = self._job.score(network)
        return self._scores[key]

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
        new = [each for number, each in enumerate(found) if each not in tried and each not in found[:number]]
        if len(new) < 2:
            return [*new, found[0]][0]
        return max(new, key=self.score)
