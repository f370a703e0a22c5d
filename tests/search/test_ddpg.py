from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from toy_search import play_toy, toy

from amc_hw.search.ddpg import Agent, Hyperparameters, Replay, truncated_normal
from amc_hw.search.ddpg_strategies import DdpgStrategy
from amc_hw.search.strategies import build_strategy
from amc_hw.search.strategy import Result


def rewards(name: str, seed: int, episodes: int) -> list[float]:
    space = toy()
    strategy = build_strategy(name, space, seed=seed, episodes=episodes)
    return [-play_toy(strategy, space) for _ in range(episodes)]


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_a_toy_problem_with_a_known_best_policy(seed: int) -> None:
    learned, drawn = rewards("ddpg", seed, episodes=90), rewards("random", seed, episodes=90)
    assert max(learned) > 0.7 * max(drawn)
    assert statistics.mean(learned[-10:]) > 0.5 * statistics.mean(drawn)


def test_the_replay_keeps_the_latest_transitions() -> None:
    replay = Replay(capacity=4, states=2)
    for i in range(6):
        replay.add(np.full(2, i, np.float32), i / 10, -i, np.full(2, i + 1, np.float32), last=i == 5)
    assert len(replay) == 4
    state, action, reward, next_state, follows = replay.sample(64, np.random.default_rng(0))
    assert sorted(state[:, 0].tolist()) == [2, 3, 4, 5]
    assert state.shape == next_state.shape == (4, 2)
    assert action.shape == reward.shape == follows.shape == (4, 1)
    for row in range(4):
        i = state[row, 0].item()
        assert (reward[row].item(), next_state[row, 1].item(), follows[row].item()) == (-i, i + 1, i != 5)
        assert action[row].item() == pytest.approx(i / 10)


def test_the_replay_holds_what_was_executed_with_the_final_reward_on_every_transition() -> None:
    space = toy()
    strategy = DdpgStrategy(space, seed=0, parameters=Hyperparameters(warmup=5, hidden=8))
    policy = strategy.ask()
    strategy.tell(policy, Result(0.7, -0.3, space.cost(policy)))
    replay = strategy.agent.replay
    assert len(replay) == len(space.steps)  # and no terminal transition besides
    size = space.state_size
    executed = [policy[step.group] / 64 for step in space.steps]
    assert replay.rows[:12, size] == pytest.approx(executed)
    assert replay.rows[:12, size + 1] == pytest.approx([-0.3] * 12)
    assert replay.rows[:12, -1].tolist() == [1] * 11 + [0]
    assert replay.rows[1:12, :size] == pytest.approx(replay.rows[:11, size + 2 : -1])


def test_the_warm_up_is_random_and_learns_nothing() -> None:
    space = toy()
    strategy = DdpgStrategy(space, seed=0, parameters=Hyperparameters(warmup=2, hidden=8))
    before = [parameter.clone() for parameter in strategy.agent.actor.parameters()]
    changed = []
    for _ in range(3):
        policy = strategy.ask()
        strategy.tell(policy, Result(0.7, -0.3, space.cost(policy)))
        pairs = zip(before, strategy.agent.actor.parameters(), strict=True)
        changed.append(any(not torch.equal(old, new) for old, new in pairs))
    assert changed == [False, False, True]


def test_short_searches_warm_up_for_a_quarter_of_their_episodes() -> None:
    space = toy()
    warmups = {}
    for episodes in (1, 40, 399, 400, 800):
        strategy = build_strategy("ddpg", space, seed=0, episodes=episodes)
        assert isinstance(strategy, DdpgStrategy)
        warmups[episodes] = strategy.parameters.warmup
    assert warmups == {1: 0, 40: 10, 399: 99, 400: 100, 800: 100}


def test_the_noise_fades_until_the_actor_decides_alone() -> None:
    agent = Agent(states=3, steps=2, seed=0, parameters=Hyperparameters(warmup=10, hidden=16))
    state = np.array([0.1, 0.5, 0.9], dtype=np.float32)
    wild = [agent.act(state, episode=10) for _ in range(200)]
    tame = [agent.act(state, episode=300) for _ in range(200)]
    assert all(0 <= action <= 1 for action in wild + tame)
    assert statistics.stdev(wild) > 0.2
    assert statistics.stdev(tame) < 1e-4


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_the_truncated_normal_has_the_moments_of_the_distribution(mean: float) -> None:
    random, sigma, unit = np.random.default_rng(0), 0.3, statistics.NormalDist()
    drawn = [truncated_normal(mean, sigma, random) for _ in range(4000)]
    low, high = (0 - mean) / sigma, (1 - mean) / sigma
    inside = unit.cdf(high) - unit.cdf(low)
    shift = (unit.pdf(low) - unit.pdf(high)) / inside
    spread = 1 + (low * unit.pdf(low) - high * unit.pdf(high)) / inside - shift**2
    assert statistics.mean(drawn) == pytest.approx(mean + sigma * shift, abs=0.015)
    assert statistics.stdev(drawn) == pytest.approx(sigma * spread**0.5, abs=0.015)


def test_the_baseline_follows_the_rewards_of_the_batches() -> None:
    agent = Agent(states=2, steps=1, seed=0, parameters=Hyperparameters(hidden=8))
    zero = np.zeros(2, np.float32)
    agent.remember([zero, zero], [0.5], reward=-1.0)
    agent.update()
    assert agent.baseline == -1
    agent.remember([zero, zero], [0.5], reward=-3.0)
    agent.update()
    assert agent.baseline == -1.5  # half of the way to the batch's mean, -2


def test_all_chance_comes_from_the_seed_and_none_is_taken_from_others() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    first = rewards("ddpg", seed=4, episodes=8)
    assert (torch.rand(1), np.random.rand()) == expected
    torch.manual_seed(2)
    assert rewards("ddpg", seed=4, episodes=8) == first
    assert rewards("ddpg", seed=5, episodes=8) != first
