from __future__ import annotations

import warnings

import numpy as np
from gymnasium.utils.env_checker import check_env

from amc_hw.search.environment import CompressionEnv
from amc_hw.search.rewards import find_reward


def test_it_passes_the_checker_of_gymnasium(problem) -> None:
    made = problem(3, groups=4)
    env = CompressionEnv(made.space(), made.accuracy, find_reward("resource"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Gymnasium's advice: a keep ratio is 0..1, and nothing of a search is drawn or registered.
        advice = ".*symmetric and normalized.*|.*different render modes.*|.*not from a registered spec.*"
        warnings.filterwarnings("ignore", advice, UserWarning)
        check_env(env, skip_render_check=True)


def test_an_episode_pays_once_at_the_end_for_the_policy_that_was_executed(problem) -> None:
    made = problem(5, groups=4)
    scored = []

    def evaluate(policy):
        scored.append(dict(policy))
        return made.accuracy(policy)

    env = CompressionEnv(made.space(), evaluate, find_reward("accuracy_guaranteed"))
    for episode in range(3):
        _, info = env.reset(seed=episode)
        assert info == {}
        rewards, ratios, ended = [], [], False
        while not ended:
            state, reward, ended, cut, info = env.step(env.action_space.sample())
            assert state in env.observation_space
            assert not cut
            rewards.append(reward)
            ratios.append(info["keep_ratio"])
            assert state[-1] == np.float32(ratios[-1])
        assert len(rewards) == 4
        assert rewards[:-1] == [0, 0, 0]
        assert scored[-1] == info["policy"] == env.rollout.policy
        assert ratios == [info["policy"][step.group] / step.choices[-1] for step in made.steps]
        assert info["cost"] == made.cost(info["policy"]) <= made.budget
        assert info["accuracy"] == made.accuracy(info["policy"])
        assert rewards[-1] == env.reward(info["accuracy"], info["cost"], "latency_ms")
    assert len(scored) == 3
