"""The strategies by name: AMC's, the simple ones that it has to beat, and what builds each of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from amc_hw.errors import unknown_name
from amc_hw.policy import Policy
from amc_hw.search.auto import AutoStrategy
from amc_hw.search.ddpg import Agent, Hyperparameters
from amc_hw.search.greedy import GreedyStrategy
from amc_hw.search.knapsack import Importance, KnapsackStrategy
from amc_hw.search.moves import largest_uniform
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Result, Strategy


class DdpgStrategy:
    """AMC's search (arXiv:1802.03494): random episodes, then learning from every one that follows.

    The first of the random episodes is the uniform policy, so that no search ends with less than that.
    """

    def __init__(self, space: SearchSpace, seed: int, parameters: Hyperparameters) -> None:
        self.space = space
        self.parameters = parameters
        self.agent = Agent(space.state_size, len(space.steps), seed, parameters)
        self.episode = 0
        _, self.uniform = largest_uniform(space.choices, space.bounds)
        self.states: list[NDArray[np.float32]] = []
        self.executed: list[float] = []

    def ask(self) -> Policy:
        """Play an episode; what is kept for the replay is what was executed, not what the actor wished."""
        rollout = self.space.rollout()
        self.states, self.executed = [rollout.state()], []
        while not rollout.done:
            self.executed.append(rollout.decide(self._action()))
            self.states.append(rollout.state())
        return rollout.policy

    def _action(self) -> float:
        step = len(self.executed)
        if self.episode == 0:
            return self.uniform[self.space.steps[step].group] / self.space.steps[step].choices[-1]
        return self.agent.act(self.states[-1], self.episode)

    def tell(self, policy: Policy, result: Result) -> None:
        """Remember the episode and, after the warm-up, learn."""
        self.agent.remember(self.states, self.executed, result.reward)
        if self.episode >= self.parameters.warmup:
            for _ in self.executed:
                self.agent.update()
        self.episode += 1


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


def _ddpg(space: SearchSpace, seed: int, episodes: int, importance: Importance | None) -> Strategy:
    """Return AMC's search; the warm-up is at most a quarter of the episodes, so that short searches learn."""
    return DdpgStrategy(space, seed, Hyperparameters(warmup=min(Hyperparameters.warmup, episodes // 4)))


def _auto(space: SearchSpace, seed: int, episodes: int, importance: Importance | None) -> Strategy:
    """Return the default, begun with the knapsack's policies, with and without importance."""
    known = (None,) if importance is None else (None, importance)
    openers = [KnapsackStrategy(space, seed, given).ask() for given in known]
    return AutoStrategy(space, seed, openers, episodes)


Builder = Callable[[SearchSpace, int, int, Importance | None], Strategy]

STRATEGIES: dict[str, Builder] = {
    "auto": _auto,
    "ddpg": _ddpg,
    "greedy": lambda space, seed, episodes, importance: GreedyStrategy(space, seed, episodes),
    "knapsack": lambda space, seed, episodes, importance: KnapsackStrategy(space, seed, importance),
    "random": lambda space, seed, episodes, importance: RandomStrategy(space, seed),
    "uniform": lambda space, seed, episodes, importance: UniformStrategy(space, seed),
}


WEIGH_CHANNELS = frozenset({"auto", "knapsack"})
"""The strategies that make use of the channels' importance."""


def build_strategy(
    name: str, space: SearchSpace, *, seed: int, episodes: int, importance: Importance | None = None
) -> Strategy:
    """Return a fresh strategy.

    Args:
        name: a key of ``STRATEGIES``; another raises UsageError with the nearest one.
        space: what is searched.
        seed: where all its chance comes from.
        episodes: how many are planned.
        importance: of every group's channels, for those of ``WEIGH_CHANNELS``.
    """
    return find_strategy(name)(space, seed, episodes, importance)


def find_strategy(name: str) -> Builder:
    """Return the strategy's builder; raise UsageError with the nearest name where there is none."""
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name]
