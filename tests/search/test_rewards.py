from __future__ import annotations

import math

import pytest

from amc_hw.errors import UsageError
from amc_hw.search.rewards import REWARDS, find_reward


def test_resource_is_the_negative_error_whatever_the_cost() -> None:
    reward = find_reward("resource")
    assert reward.needs_budget
    assert reward(0.9, 1.0, "latency_ms") == reward(0.9, 1e9, "macs") == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("metric", "cost", "logarithm"),
    [("latency_ms", 1.5, math.log(1500)), ("macs", 4e7, math.log(4e7)), ("params", 2.7e5, math.log(2.7e5))],
)
def test_accuracy_guaranteed_weighs_the_error_by_the_logarithm_of_the_cost(metric, cost, logarithm) -> None:
    reward = find_reward("accuracy_guaranteed")
    assert not reward.needs_budget
    assert reward(0.9, cost, metric) == pytest.approx(-0.1 * logarithm)


@pytest.mark.parametrize("metric", ["latency_ms", "macs", "params"])
@pytest.mark.parametrize("cost", [0.0, 1e-9, 1e-3, 1.0, 1e9])
@pytest.mark.parametrize("reward", REWARDS.values(), ids=REWARDS)
def test_a_smaller_error_is_always_worth_more(reward, cost, metric) -> None:
    assert reward(0.5, cost, metric) < reward(0.6, cost, metric) < reward(1.0, cost, metric) == 0


def test_at_the_same_error_less_cost_is_worth_more() -> None:
    reward = find_reward("accuracy_guaranteed")
    assert reward(0.9, 0.5, "latency_ms") > reward(0.9, 0.6, "latency_ms")


def test_an_unknown_reward_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resource'"):
        find_reward("resourse")
