from __future__ import annotations

import itertools
import random

import pytest

from amc_hw.budget.bounds import Bounds
from amc_hw.budget.cost import Cost, Term
from amc_hw.search.knapsack import KnapsackStrategy, fill_knapsack
from amc_hw.search.space import SearchSpace, Step


def worths(choices, draw):
    """Concave, as importances are: the channels that are kept longest matter most."""
    found = {}
    for group, counts in choices.items():
        parts = sorted((draw.random() for _ in range(counts[-1])), reverse=True)
        found[group] = {count: sum(parts[:count]) for count in counts}
    return found


def best_of_all(values, bounds):
    policies = (dict(zip(values, counts, strict=True)) for counts in itertools.product(*values.values()))
    return max(sum(values[g][c] for g, c in policy.items()) for policy in policies if bounds.keeps(policy))


def test_it_is_nearly_as_good_as_trying_every_policy(problem) -> None:
    shares = []
    for seed in range(40):
        made = problem(seed, groups=4)
        bounds = made.space().bounds
        values = worths(made.space().choices, random.Random(seed))
        policy = fill_knapsack(values, bounds)
        assert bounds.keeps(policy)
        shares.append(sum(values[g][c] for g, c in policy.items()) / best_of_all(values, bounds))
    assert min(shares) > 0.85
    assert sum(shares) / len(shares) > 0.985


def test_separable_costs_are_solved_exactly() -> None:
    draw = random.Random(0)
    choices = {f"g{i}": (4, 8, 12, 16) for i in range(5)}
    prices = {group: draw.uniform(1, 5) for group in choices}
    cost = Cost("macs", [Term((g,), lambda c, price=price: price * c[0]) for g, price in prices.items()])
    bounds = Bounds(cost, choices, 0.5 * cost(dict.fromkeys(choices, 16)))
    values = worths(choices, draw)
    policy = fill_knapsack(values, bounds)
    assert sum(values[g][c] for g, c in policy.items()) == pytest.approx(best_of_all(values, bounds), rel=0.005)


def test_channels_go_where_importance_is() -> None:
    steps = [Step(g, tuple(range(2, 17, 2)), (1.0,)) for g in "ab"]
    cost = Cost("macs", [Term((g,), lambda channels: float(channels[0])) for g in "ab"])
    space = SearchSpace(steps, cost, 20)
    importance = {"a": [1.0] * 16, "b": [0.1] * 16}
    assert KnapsackStrategy(space, 0, importance).ask() == {"a": 16, "b": 4}
    importance = {"a": [0.1] * 16, "b": [1.0] * 16}
    assert KnapsackStrategy(space, 0, importance).ask() == {"a": 4, "b": 16}


def test_it_tells_which_share_of_the_importance_a_policy_loses() -> None:
    steps = [Step(g, (0, 1, 2), (1.0,)) for g in "ab"]
    cost = Cost("macs", [Term((g,), lambda channels: float(channels[0])) for g in "ab"])
    knapsack = KnapsackStrategy(SearchSpace(steps, cost, 3), 0, {"a": [5.0, 1.0], "b": [3.0, 1.0]})
    assert [knapsack.lost({"a": a, "b": b}) for a, b in ((2, 2), (1, 2), (2, 1), (2, 0), (0, 0))] == pytest.approx(
        [0, 0.1, 0.1, 0.4, 1]
    )


@pytest.mark.parametrize("important", ["a", "b"])
def test_a_policy_is_made_to_fit_where_least_is_lost(important: str) -> None:
    steps = [Step(g, tuple(range(2, 17, 2)), (1.0,)) for g in "ab"]
    cost = Cost("macs", [Term((g,), lambda channels: float(channels[0])) for g in "ab"])
    importance = {group: [1.0 if group == important else 0.1] * 16 for group in "ab"}
    knapsack = KnapsackStrategy(SearchSpace(steps, cost, 20), 0, importance)
    other = "b" if important == "a" else "a"
    assert knapsack.fitted({"a": 12, "b": 12}) == {important: 12, other: 8}
    assert knapsack.fitted({"a": 8, "b": 8}) == {important: 12, other: 8}


def test_a_fitted_policy_keeps_the_limits_and_leaves_no_room(problem) -> None:
    for seed in range(20):
        space = problem(seed, groups=4).space()
        draw = random.Random(seed)
        start = {step.group: draw.choice(step.choices) for step in space.steps}
        policy = KnapsackStrategy(space, seed).fitted(start)
        assert space.bounds.keeps(policy)
        for step in space.steps:
            larger = [count for count in step.choices if count > policy[step.group]]
            assert not any(space.bounds.keeps(policy | {step.group: count}) for count in larger[:1])
