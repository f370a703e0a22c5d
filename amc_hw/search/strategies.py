"""The strategies by name: AMC's, the simple ones that it has to beat, and what builds each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


class RandomStrategy(Strategy):
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


class UniformStrategy(Strategy):
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


@dataclass(frozen=True)
class Plan:
    """What a strategy is made for.

    Attributes:
        space: what is searched.
        seed: where all its chance comes from.
        episodes: how many are planned.
        importance: of every group's channels, where it is known.
    """

    space: SearchSpace
    seed: int
    episodes: int
    importance: Importance | None = None

    @property
    def hyperparameters(self) -> Hyperparameters:
        """AMC's; the warm-up is at most a quarter of the episodes, so that short searches learn."""
        return Hyperparameters(warmup=min(Hyperparameters.warmup, self.episodes // 4))


@dataclass(frozen=True)
class Registered:
    """A strategy that can be asked for by name.

    Attributes:
        build: makes a fresh one.
        weighs_channels: whether it makes use of the channels' importance.
        recalls: whether it learns from scores of other searches, so that it needs fewer of its own.
    """

    build: Callable[[Plan], Strategy]
    weighs_channels: bool = False
    recalls: bool = False


STRATEGIES: dict[str, Registered] = {
    "auto": Registered(
        lambda plan: AutoStrategy(plan.space, plan.seed, plan.episodes, plan.importance),
        weighs_channels=True,
        recalls=True,
    ),
    "ddpg": Registered(lambda plan: DdpgStrategy(plan.space, plan.seed, plan.hyperparameters)),
    "ddpg-multi": Registered(lambda plan: DdpgMultiStrategy(plan.space, plan.seed, plan.hyperparameters)),
    "greedy": Registered(lambda plan: GreedyStrategy(plan.space, plan.seed, plan.episodes)),
    "knapsack": Registered(lambda plan: KnapsackStrategy(plan.space, plan.seed, plan.importance), weighs_channels=True),
    "random": Registered(lambda plan: RandomStrategy(plan.space, plan.seed)),
    "uniform": Registered(lambda plan: UniformStrategy(plan.space, plan.seed)),
}

WEIGH_CHANNELS = frozenset(name for name, strategy in STRATEGIES.items() if strategy.weighs_channels)
"""The strategies that make use of the channels' importance."""

RECALL = frozenset(name for name, strategy in STRATEGIES.items() if strategy.recalls)
"""The strategies that learn from scores of other searches."""


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
        name: a key of ``STRATEGIES``.
        space: what is searched.
        seed: where all its chance comes from.
        episodes: how many are planned.
        importance: of every group's channels, for those of ``WEIGH_CHANNELS``.
        agent: file of a trained agent for ``ddpg-multi`` to begin with.

    Raises:
        UsageError: no strategy has that name (the message says the nearest), or the agent is of no use to it or of
            another network.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES, "strategy")
    if agent is None:
        return STRATEGIES[name].build(Plan(space, seed, episodes, importance))
    require_agent_strategy(name)
    return DdpgMultiStrategy.trained(space, seed, episodes, agent)
