"""The ways to search: each asks for policies to score and is told the results, whoever scores them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from amc_hw.errors import unknown_name
from amc_hw.policy import Policy
from amc_hw.search.ddpg import Agent, Hyperparameters
from amc_hw.search.space import SearchSpace, Step


@dataclass(frozen=True)
class Result:
    """What a policy scored: accuracy in 0..1, the reward, and its cost in the unit of the space's metric."""

    accuracy: float
    reward: float
    cost: float


class Strategy(Protocol):
    """A deterministic function of its seed and of what it was told: a study resumes by telling it again.

    ``ask`` and ``tell`` alternate. Every policy asked for names every group, in network order, and keeps the
    budget.
    """

    def ask(self) -> Policy:
        """Return the next policy to score."""

    def tell(self, policy: Policy, result: Result) -> None:
        """Take the result of the policy that was asked for last."""


class DdpgStrategy:
    """AMC's search (arXiv:1802.03494): random episodes, then learning from every one that follows.

    The first of the random episodes is the uniform policy, so that no search ends with less than that.
    """

    def __init__(self, space: SearchSpace, seed: int, parameters: Hyperparameters) -> None:
        self.space = space
        self.parameters = parameters
        self.agent = Agent(space.state_size, len(space.steps), seed, parameters)
        self.episode = 0
        _, self.uniform = _largest_uniform(space)
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
        self.ratio, self.first = _largest_uniform(space)
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


def _largest_uniform(space: SearchSpace) -> tuple[float, Policy]:
    """Return the largest ratio whose policy fits the budget, with that policy.

    A group keeps its largest choice that is not over the ratio. Only finitely many ratios differ in their
    policy, so all are tried from the top; bisection could miss the largest, because measured costs are not
    monotone.
    """
    if space.bounds is None:
        return 1.0, space.original
    ratios = sorted({choice / step.choices[-1] for step in space.steps for choice in step.choices}, reverse=True)
    for ratio in ratios:
        policy = {step.group: _at_most(ratio, step) for step in space.steps}
        if space.cost(policy) <= space.bounds.budget:
            return ratio, policy
    return ratios[-1], space.bounds.floor


def _at_most(ratio: float, step: Step) -> int:
    """Return the largest choice that is not over the keep ratio, or the smallest where all are."""
    return max([c for c in step.choices if c / step.choices[-1] <= ratio], default=step.choices[0])


def _ddpg(space: SearchSpace, seed: int, episodes: int) -> Strategy:
    """Return AMC's search; the warm-up is at most a quarter of the episodes, so that short searches learn."""
    return DdpgStrategy(space, seed, Hyperparameters(warmup=min(Hyperparameters.warmup, episodes // 4)))


STRATEGIES: dict[str, Callable[[SearchSpace, int, int], Strategy]] = {
    "ddpg": _ddpg,
    "random": lambda space, seed, episodes: RandomStrategy(space, seed),
    "uniform": lambda space, seed, episodes: UniformStrategy(space, seed),
}


def build_strategy(name: str, space: SearchSpace, *, seed: int, episodes: int) -> Strategy:
    """Return a fresh strategy.

    Args:
        name: a key of ``STRATEGIES``; another raises UsageError with the nearest one.
        space: what is searched.
        seed: where all its chance comes from.
        episodes: how many are planned.
    """
    return find_strategy(name)(space, seed, episodes)


def find_strategy(name: str) -> Callable[[SearchSpace, int, int], Strategy]:
    """Return the strategy's builder; raise UsageError with the nearest name where there is none."""
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES)
    return STRATEGIES[name]
