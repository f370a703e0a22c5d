"""What is measured after a policy that missed its budget, or left some of it: the best of a short search near it."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from torch import nn

from amc_hw.budget.bounds import Limit
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.search import Search
from amc_hw.pipeline.steps import search_steps
from amc_hw.policy import Policy
from amc_hw.runs.progress import Progress
from amc_hw.search.auto import AutoStrategy
from amc_hw.search.knapsack import Importance
from amc_hw.search.rewards import find_reward
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import WEIGH_CHANNELS
from amc_hw.search.strategy import Result

LEAST = 5
"""Policies that are scored, the one made to fit among them."""
SHARE = 10
"""One for so many episodes of the search, where those are more."""
_REWARD = find_reward("resource")


class Nearby:
    """Finds policies for limits that have moved, and knows the scores of all that it and the search have seen.

    Args:
        job: how policies are scored, and the channel counts of every group.
        search: the finished search.
    """

    def __init__(self, job: Job, search: Search) -> None:
        self._job, self._search = job, search
        self._scores = {tuple(episode.channels.items()): episode.accuracy for episode in search.study.episodes}
        self._count = max(LEAST, len(search.study.episodes) // SHARE)

    def score(self, policy: Policy, model: nn.Module | None = None) -> float:
        """Return a policy's score, 0..1, before fine-tuning; ``model`` is its network, where that is at hand."""
        key = tuple(policy.items())
        if key not in self._scores:
            network = self._search.pruner.pruned(policy).cpu() if model is None else model
            self._scores[key] = self._job.score(network)
        return self._scores[key]

    def __call__(
        self, policy: Policy, limits: tuple[Limit, ...], tried: Collection[Policy], progress: Progress
    ) -> Policy:
        """Return the best of a policy that is made to keep limits and of what a search finds that knows all scores.

        Args:
            policy: the one to begin with.
            limits: what is kept, and used up.
            tried: policies that are not taken again, unless there are no others.
            progress: is told how far the search is.

        Raises:
            BudgetError: no channel counts keep the limits.
        """
        first, *others = limits
        space = SearchSpace(search_steps(self._job.trained), first.cost, first.most, others)
        known = [(dict(key), _result(space, dict(key), score)) for key, score in self._scores.items()]
        strategy = AutoStrategy(space, self._job.config.seed, self._count, self._importance)
        found: list[Policy] = [strategy.knapsack.fitted(policy)]
        self.score(found[0])
        strategy.recall(known)
        for number in range(1, self._count):
            progress("searching near it", number, self._count)
            found.append(asked := strategy.ask())
            strategy.tell(asked, _result(space, asked, self.score(asked)))
        new = [each for each in found if each not in tried]
        return max(new or found[:1], key=self.score)

    @cached_property
    def _importance(self) -> Importance | None:
        """Of the channels, where the search has made use of it: it takes gradients."""
        used = self._job.config.strategy in WEIGH_CHANNELS
        return self._search.pruner.channel_importance() if used else None


def _result(space: SearchSpace, policy: Policy, score: float) -> Result:
    """Return a score as a search within bounds is told it."""
    cost = space.cost(policy)
    return Result(score, _REWARD(score, cost, space.cost.metric), cost)
