"""The agent at work: AMC's search for one budget, and CAMC's, whose agent knows several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from amc_hw.budget.bounds import Limit
from amc_hw.errors import BudgetError
from amc_hw.policy import Policy
from amc_hw.search.agent_file import load_agent, save_agent
from amc_hw.search.ddpg import Agent, Hyperparameters
from amc_hw.search.moves import largest_uniform
from amc_hw.search.space import Rollout, SearchSpace
from amc_hw.search.strategy import Result, Strategy

State = NDArray[np.float32]
Played = tuple[list[State], list[float]]
"""T + 1 states and T executed actions: what the replay holds is not what the actor wished."""


def _play(rollout: Rollout, uniform: Policy | None, act: Callable[[State], float], *more: float) -> Played:
    """Play an episode: every action is ``uniform``'s where there is one, else what ``act`` answers to the state.

    ``more`` is added to the end of every state.
    """
    states, executed = [_extended(rollout, more)], []
    for step in rollout.space.steps:
        action = act(states[-1]) if uniform is None else uniform[step.group] / step.choices[-1]
        executed.append(rollout.decide(action))
        states.append(_extended(rollout, more))
    return states, executed


def _extended(rollout: Rollout, more: tuple[float, ...]) -> State:
    return np.append(rollout.state(), np.array(more, dtype=np.float32))


class DdpgStrategy(Strategy):
    """AMC's search (arXiv:1802.03494): random episodes, then learning from every one that follows.

    The first of the random episodes is the uniform policy, so that no search ends with less than that.
    """

    def __init__(self, space: SearchSpace, seed: int, parameters: Hyperparameters) -> None:
        self.space = space
        self.parameters = parameters
        self.agent = Agent(space.state_size, len(space.steps), seed, parameters)
        self.episode = 0
        _, self.uniform = largest_uniform(space.choices, space.bounds)
        self.played: Played = ([], [])

    def ask(self) -> Policy:
        """Play an episode."""
        rollout = self.space.rollout()
        uniform = self.uniform if self.episode == 0 else None
        self.played = _play(rollout, uniform, lambda state: self.agent.act(state, self.episode))
        return rollout.policy

    def tell(self, policy: Policy, result: Result) -> None:
        """Remember the episode and, after the warm-up, learn."""
        self.agent.learn(*self.played, result.reward, self.episode)
        self.episode += 1


class TargetAgent(Agent):
    """An agent whose states end with the target; the rewards of every target have a baseline of their own."""

    def __init__(self, states: int, steps: int, seed: int, parameters: Hyperparameters) -> None:
        super().__init__(states, steps, seed, parameters)
        self.baselines: dict[float, float] = {}

    def advantages(self, state: Tensor, reward: Tensor) -> Tensor:
        """Return rewards (batch, 1) less the moving average of their target's."""
        advantages = reward.clone()
        for target in sorted(set(state[:, -1].tolist())):
            rows = state[:, -1] == target
            mean = reward[rows].mean().item()
            before = self.baselines.get(target, mean)
            self.baselines[target] = before + self.parameters.baseline_rate * (mean - before)
            advantages[rows] -= self.baselines[target]
        return advantages


REUSED_WARMUP = 10
"""Episodes, at most, before an agent that is trained already learns again."""


class DdpgMultiStrategy(Strategy):
    """CAMC's idea: one agent for several budgets, which are part of its state and take turns.

    The targets are the run's limits, tighter ones half of the way down to the cheapest policy, and looser ones
    half of the way up to the original network. The first episodes are the uniform policy of each target; later
    every second one is the run's own. The reward is the accuracy over that of the target's uniform policy, so
    that targets are comparable. What looser episodes find is over the run's budget and no candidate: they only
    teach. Without a budget there is one target, and the reward is the search's own.

    Args:
        space: what is searched, with the run's limits.
        seed: where all its chance comes from.
        parameters: of the agent; the replay holds as many episodes of every target.
    """

    least_reference = 0.1
    """So that a target at which the uniform policy is as good as lost does not outweigh all others."""

    def __init__(self, space: SearchSpace, seed: int, parameters: Hyperparameters) -> None:
        self.space = space
        self.targets = target_spaces(space)
        self.parameters = parameters
        steps = len(self.targets) * len(space.steps)
        self.agent = TargetAgent(space.state_size + 1, steps, seed, parameters)
        self.references: list[float] = []
        self.episode = 0
        self.played: Played = ([], [])

    @classmethod
    def trained(cls, space: SearchSpace, seed: int, episodes: int, file: Path) -> DdpgMultiStrategy:
        """Return a search of so many planned episodes that begins with the agent of an earlier one.

        Unchanged, an agent does poorly at another budget than its own, so it goes on learning; but it warms up
        for at most `REUSED_WARMUP` episodes, and half of the noise disturbs what it knows.

        Raises:
            UsageError: see `load_agent`.
        """
        parameters = Hyperparameters(warmup=min(REUSED_WARMUP, episodes // 10), noise=Hyperparameters.noise / 2)
        strategy = cls(space, seed, parameters)
        load_agent(file, strategy.agent, space.steps)
        return strategy

    @property
    def turn(self) -> int:
        """Which target's episode it is."""
        count = len(self.targets)
        later = self.episode - count
        if later < 0:
            return self.episode
        return 1 + later // 2 % (count - 1) if later % 2 and count > 1 else 0

    def ask(self) -> Policy:
        """Play an episode of the target whose turn it is."""
        space = self.targets[self.turn]
        rollout, uniform = space.rollout(), None
        if self.episode < len(self.targets):
            _, uniform = largest_uniform(space.choices, space.bounds)
        target = 1.0 if space.bounds is None else min(1.0, space.bounds.limits[0].most / space.original_cost)
        self.played = _play(rollout, uniform, lambda state: self.agent.act(state, self.episode), target)
        return rollout.policy

    def tell(self, policy: Policy, result: Result) -> None:
        """Remember the episode and, after the warm-up, learn."""
        if self.episode < len(self.targets):
            self.references.append(max(result.accuracy, self.least_reference))
        bounded = self.targets[0].bounds is not None
        reward = result.accuracy / self.references[self.turn] if bounded else result.reward
        self.agent.learn(*self.played, reward, self.episode)
        self.episode += 1

    def save(self, file: Path) -> None:
        """Write the agent; see `trained`."""
        save_agent(file, self.agent, self.space.steps)


def target_spaces(space: SearchSpace) -> list[SearchSpace]:
    """Return the space, then the same steps and cost under tighter and under looser limits, where there are any."""
    found = [space]
    if space.bounds is None:
        return found
    floor = space.bounds.floor
    for ends in ([limit.cost(floor) for limit in space.bounds.limits], _originals(space, space.bounds.limits)):
        first, *others = [
            Limit(limit.cost, (limit.most + end) / 2) for limit, end in zip(space.bounds.limits, ends, strict=True)
        ]
        if [first, *others] == list(space.bounds.limits):
            continue
        try:
            found.append(SearchSpace(space.steps, space.cost, first.most, others))
        except BudgetError:  # the cheapest policy for these limits need not be the one for the run's
            continue
    return found


def _originals(space: SearchSpace, limits: tuple[Limit, ...]) -> list[float]:
    """Return what the original network costs, where a limit is under it."""
    return [max(limit.most, limit.cost(space.original)) for limit in limits]
