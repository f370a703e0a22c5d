from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from amc_hw.budget.cost import Cost, Term
from amc_hw.policy import Policy
from amc_hw.search.auto import AutoStrategy
from amc_hw.search.space import SearchSpace, Step
from amc_hw.search.strategies import build_strategy
from amc_hw.search.strategy import Result
from amc_hw.search.surrogate import fit_surrogate


def network(groups: int = 6, share: float = 0.5):
    """A made-up network whose groups differ in how much their channels matter, and how they are paid for."""
    draw = np.random.default_rng(3)
    weights, prices = draw.uniform(0.02, 0.3, groups), draw.uniform(0.5, 2, groups)
    steps = [Step(f"g{i}", tuple(range(8, 65, 8)), (float(prices[i]),)) for i in range(groups)]
    cost = Cost("macs", [Term((f"g{i}",), lambda c, p=prices[i]: float(p * c[0])) for i in range(groups)])

    def reward(policy) -> float:
        ratios = np.array(list(policy.values())) / 64
        return -min(1.0, 0.1 * math.exp(float((weights * (1 / ratios - 1)).sum())))

    return SearchSpace(steps, cost, share * cost({s.group: 64 for s in steps})), reward


def best(name: str, seed: int, episodes: int, known: Sequence[tuple[Policy, Result]] = (), groups: int = 6) -> float:
    space, reward = network(groups)
    strategy = build_strategy(name, space, seed=seed, episodes=episodes)
    strategy.recall(known)
    found = []
    for _ in range(episodes):
        policy = strategy.ask()
        found.append(reward(policy) if space.keeps(policy) else -1 - space.share_used(policy))
        strategy.tell(policy, Result(1 + reward(policy), found[-1], space.cost(policy)))
    return max(found)


def test_it_finds_better_policies_than_every_other_strategy_in_as_many_episodes() -> None:
    others = {name: [best(name, seed, 30) for seed in range(3)] for name in ("ddpg", "random", "uniform", "greedy")}
    found = [best("auto", seed, 30) for seed in range(3)]
    assert min(found) >= max(max(rewards) for rewards in others.values())
    assert min(found) > max(statistics.mean(rewards) for rewards in others.values()) + 0.001


def test_scores_for_another_budget_are_worth_episodes_of_ones_own() -> None:
    space, reward = network(groups=10, share=0.7)
    gains = []
    for seed in range(4):
        strategy, known = build_strategy("auto", space, seed=seed, episodes=16), []
        for _ in range(16):
            policy = strategy.ask()
            known.append((dict(policy), Result(1 + reward(policy), reward(policy), space.cost(policy))))
            strategy.tell(*known[-1])
        gains.append(best("auto", seed, 6, known, groups=10) - best("auto", seed, 6, groups=10))
    assert statistics.mean(gains) > 0.01


def test_it_begins_with_the_uniform_policy_and_the_knapsacks(problem) -> None:
    made = problem(1, groups=5)
    importance = {s.group: [1.0 / (n + 1) ** 2 for n in range(s.choices[-1])] for s in made.steps}
    auto = build_strategy("auto", made.space(), seed=0, episodes=20, importance=importance)
    first = []
    for _ in range(5):
        policy = dict(auto.ask())
        first.append(policy)
        auto.tell(policy, Result(0.5, -0.5, made.cost(policy)))
    uniform = build_strategy("uniform", made.space(), seed=0, episodes=1).ask()
    knapsack = build_strategy("knapsack", made.space(), seed=0, episodes=1, importance=importance).ask()
    assert first[0] == uniform
    assert all(any(all(p[g] >= n for g, n in cheap.items()) for p in first) for cheap in (uniform, knapsack))


def test_it_looks_elsewhere_once_every_neighbour_was_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoStrategy, "_child", lambda self, parent, generation: dict(parent))
    space, reward = network()
    strategy, asked = build_strategy("auto", space, seed=0, episodes=40), set()
    for _ in range(40):
        policy = strategy.ask()
        assert space.keeps(policy)
        asked.add(tuple(policy.values()))
        strategy.tell(policy, Result(1 + reward(policy), reward(policy), space.cost(policy)))
    assert len(asked) == 40


def samples(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random ratios and the losses of the made-up network."""
    space, reward = network()
    ratios = np.random.default_rng(0).integers(1, 9, (count, len(space.steps))) / 8
    return ratios, np.array([math.log(-reward(dict(enumerate(64 * row)))) for row in ratios])


def test_the_surrogate_predicts_what_it_has_not_seen_and_knows_how_well() -> None:
    ratios, losses = samples(90)
    useless = np.random.default_rng(1).normal(size=90)
    mean, deviation = fit_surrogate(ratios[:60], useless[:60], losses[:60]).predict(ratios[60:], useless[60:])
    errors = np.abs(mean - losses[60:])
    assert np.corrcoef(mean, losses[60:])[0, 1] > 0.9
    assert (errors < 3 * deviation).mean() > 0.9
    assert errors.mean() < 0.5 * losses.std()


def test_a_good_hint_tells_the_surrogate_much_from_few_scores() -> None:
    ratios, losses = samples(90)
    hints = losses + np.random.default_rng(1).normal(0, 0.3 * losses.std(), 90)
    errors = {
        name: np.abs(
            fit_surrogate(ratios[:8], each[:8], losses[:8]).predict(ratios[8:], each[8:])[0] - losses[8:]
        ).mean()
        for name, each in (("none", np.zeros(90)), ("good", hints), ("upside down", -hints))
    }
    assert errors["good"] < 0.6 * errors["none"]
    assert errors["upside down"] == pytest.approx(errors["good"])


def test_the_surrogate_bears_scores_that_are_all_the_same() -> None:
    ratios, same = np.array([[0.5, 1.0], [1.0, 0.5]]), np.array([-1.0, -1.0])
    mean, deviation = fit_surrogate(ratios, same, same).predict(np.ones((1, 2)), same[:1])
    assert mean == [-1.0]
    assert np.isfinite(deviation).all()
