"""The strategies by name: AMC's, the simple ones that it has to beat, and what builds each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from amc_hw.errors import unknown_name
from amc_hw.policy import Policy
from amc_hw.runs.names import require_agent_strategy
from amc_hw.search.auto import AutoStrategy
from amc_hw.search.ddpg import Hyperparameters
from amc_hw.search.ddpg_strategies import DdpgMultiStrategy, DdpgStrategy
from amc_hw.search.greedy import GreedyStrategy
from amc_hw.search.knapsack import Importance, KnapsackStrategy
from amc_hw.search.moves import largest_uniform
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Result, Strategy


class RandomStrategy:
    """Uniform random keep ratios within the bounds: what learning has to beat."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.random = np.random.default_rng(seed)

    def ask(self) -> Policy:
        """Draw a policy."""
        rollout = self.space.rollout()
        while not rollout.done:
            rollout.decide(self.random.uniform())
        return rollout.policy

    def tell(self, policy: Policy, result: Result) -> None:
        """Learn nothing."""


class UniformStrategy:
    """The largest single keep ratio that fits the budget, then random policies around it.

    Without a budget, every later episode draws the ratio it stays around.
    """

    spread = 0.1

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.random = np.random.default_rng(seed)
        self.ratio, self.first = largest_uniform(space.choices, space.bounds)
        self.asked = False

    def ask(self) -> Policy:
        """Return the uniform policy, later one whose ratios are spread normally around it."""
        if not self.asked:
            self.asked = True
            return self.first
        ratio = self.random.uniform() if self.space.bounds is None else self.ratio
        rollout = self.space.rollout()
        while not rollout.done:
            rollout.decide(self.random.normal(ratio, self.spread))
        return rollout.policy

    def tell(self, policy: Policy, result: Result) -> None:
        """Learn nothing."""


def _parameters(episodes: int) -> Hyperparameters:
    """Return AMC's values; the warm-up is at most a quarter of the episodes, so that short searches learn."""
    return Hyperparameters(warmup=min(Hyperparameters.warmup, episodes // 4))


Builder = Callable[[SearchSpace, int, int, Importance | None], Strategy]

STRATEGIES: dict[str, Builder] = {
    "auto": lambda space, seed, episodes, importance: AutoStrategy(space, seed, episodes, importance),
    "ddpg": lambda space, seed, episodes, importance: DdpgStrategy(space, seed, _parameters(episodes)),
    "ddpg-multi": lambda space, seed, episodes, importance: DdpgMultiStrategy(space, seed, _parameters(episodes)),
    "greedy": lambda space, seed, episodes, importance: GreedyStrategy(space, seed, episodes),
    "knapsack": lambda space, seed, episodes, importance: KnapsackStrategy(space, seed, importance),
    "random": lambda space, seed, episodes, importance: RandomStrategy(space, seed),
    "uniform": lambda space, seed, episodes, importance: UniformStrategy(space, seed),
}


WEIGH_CHANNELS = frozenset({"auto", "knapsack"})
"""The strategies that make use of the channels' importance."""


def build_strategy(
    name: str,
    space: SearchSpace,
    *,
    seed: int,
    episodes: int,
    importance: Importance | None = None,
    agent: Path | None = None,
) -> Strategy:
    """Return a fresh strategy.

    Args:
        name: a key of ``STRATEGIES``; another raises UsageError with the nearest one.
        space: what is searched.
        seed: where all its chance comes from.
        episodes: how many are planned.
        importance: of every group's channels, for those of ``WEIGH_CHANNELS``.
        agent: file of a trained agent for ``ddpg-multi`` to begin with.

    Raises:
        UsageError: see `find_strategy`, or the agent is not one of this network.
    """
    builder = find_strategy(name, with_agent=agent is not None)
    if agent is not None:
        return DdpgMultiStrategy.trained(space, seed, episodes, agent)
    return builder(space, seed, episodes, importance)


def find_strategy(name: str, *, with_agent: bool = False) -> Builder:
    """Return the strategy's builder.

    Raises:
        UsageError: no strategy has that name (the message says the nearest), or a trained agent is of no use to it.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    if with_agent:
        require_agent_strategy(name)
    return STRATEGIES[name]
