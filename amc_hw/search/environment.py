"""AMC's environment for agents that speak gymnasium: one action per group, the reward at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from numpy.typing import NDArray

from amc_hw.policy import Policy
from amc_hw.search.rewards import Reward
from amc_hw.search.space import SearchSpace

Array = NDArray[np.float32]
Info: TypeAlias = dict[str, Any]
"""What gymnasium hands on beside observations: anything by its name."""


class CompressionEnv(gymnasium.Env[Array, Array]):
    """Decides the channel groups of a network one after the other (arXiv:1802.03494, section 3).

    The observation is the state of `SearchSpace`. The action, of shape (1,), is a keep ratio in 0..1; what is
    executed is the nearest ratio that exists and keeps the budget within reach, returned as
    ``info["keep_ratio"]``. The reward is 0 until the last step, whose ``info`` also has ``policy``,
    ``accuracy`` and ``cost``.

    Args:
        space: the steps, cost and bounds.
        evaluate: a policy to the accuracy, 0..1, of the network pruned by it.
        reward: what an episode is worth.
    """

    def __init__(self, space: SearchSpace, evaluate: Callable[[Policy], float], reward: Reward) -> None:
        self.space = space
        self.evaluate = evaluate
        self.reward = reward
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (space.state_size,), np.float32)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.rollout = space.rollout()

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Array, Info]:
        """Start an episode with the original network; the environment itself has no chance in it."""
        super().reset(seed=seed)
        self.rollout = self.space.rollout()
        return self.rollout.state(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, Info]:
        """Decide the next channel group."""
        info: Info = {"keep_ratio": self.rollout.decide(float(action[0]))}
        reward = 0.0
        if self.rollout.done:
            policy = dict(self.rollout.policy)
            accuracy, cost = self.evaluate(policy), self.space.cost(policy)
            reward = self.reward(accuracy, cost, self.space.cost.metric)
            info.update(policy=policy, accuracy=accuracy, cost=cost)
        return self.rollout.state(), reward, self.rollout.done, False, info
