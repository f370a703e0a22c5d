from __future__ import annotations

import math

import pytest

from amc_hw.errors import UsageError
from amc_hw.search.rewards import REWARDS, find_reward, with_floor


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


@pytest.mark.parametrize("metric", ["latency_ms", "macs"])
def test_whatever_keeps_the_floor_is_worth_more_than_what_does_not(metric) -> None:
    """The dearest that just keeps it, over the original's cost even, against the cheapest just below it."""
    reward = with_floor(find_reward("accuracy_guaranteed"), 0.9, original_cost=4e3)
    above = [reward(accuracy, cost, metric) for accuracy in (0.9, 0.95) for cost in (1e-3, 1.0, 4e3, 5e3)]
    below = [reward(accuracy, cost, metric) for accuracy in (0.0, 0.5, 0.8999) for cost in (1e-3, 1.0, 4e3, 5e3)]
    assert max(below) < min(above)


def test_below_the_floor_only_accuracy_pays_and_above_it_all_is_as_before() -> None:
    plain = find_reward("accuracy_guaranteed")
    reward = with_floor(plain, 0.9, original_cost=8.0)
    assert reward(0.5, 1.0, "latency_ms") == reward(0.5, 7.0, "latency_ms") < reward(0.51, 7.0, "latency_ms")
    assert plain(0.8, 1e-3, "latency_ms") > plain(0.9, 8.0, "latency_ms")  # what the floor is for
    for cost in (0.5, 3.0, 8.0):
        assert reward(0.93, cost, "latency_ms") == plain(0.93, cost, "latency_ms")


def test_a_reward_that_keeps_a_budget_takes_no_floor() -> None:
    with pytest.raises(UsageError, match="leave accuracy_floor= out, or search with reward=accuracy_guaranteed"):
        find_reward("resource", floor=0.9)
    assert find_reward("accuracy_guaranteed", floor=0.9) == find_reward("accuracy_guaranteed")
