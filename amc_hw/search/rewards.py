"""The rewards of AMC (arXiv:1802.03494, section 3.3); Error is 1 - accuracy, a fraction in 0..1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from amc_hw.errors import UsageError, unknown_name
from amc_hw.policy import Metric

# Logarithms are of microseconds (so that fast networks stay above 1), single MACs, parameters and bytes.
_UNITS_PER_VALUE: dict[Metric, float] = {"latency_ms": 1e3, "macs": 1.0, "params": 1.0, "size_bytes": 1.0}


@dataclass(frozen=True)
class Reward:
    """A reward by name; call it with the accuracy (0..1), the cost of the policy and the cost's metric.

    Attributes:
        name: what users call it.
        needs_budget: whether it says nothing about the cost, so that only bounds keep the policy cheap.
        function: accuracy, cost and metric to reward.
    """

    name: str
    needs_budget: bool
    function: Callable[[float, float, Metric], float]

    def __call__(self, accuracy: float, cost: float, metric: Metric) -> float:
        """Return the reward of an episode."""
        return self.function(accuracy, cost, metric)


def _resource(accuracy: float, cost: float, metric: Metric) -> float:
    """Return -Error: the action bounds alone keep the budget."""
    return -(1.0 - accuracy)


def _accuracy_guaranteed(accuracy: float, cost: float, metric: Metric) -> float:
    """Return -Error x log(cost), the cost in microseconds, MACs or parameters.

    The logarithm is not let under 1, so that a smaller error is always worth something.
    """
    return -(1.0 - accuracy) * math.log(max(cost * _UNITS_PER_VALUE[metric], math.e))


REWARDS = {
    reward.name: reward
    for reward in (
        Reward("resource", needs_budget=True, function=_resource),
        Reward("accuracy_guaranteed", needs_budget=False, function=_accuracy_guaranteed),
    )
}


def find_reward(name: str, floor: float | None = None) -> Reward:
    """Return the reward of that name, which ``with_floor`` then holds to the floor where there is one.

    Raises:
        UsageError: no reward has that name (the message says the nearest), or it takes no floor.
    """
    if name not in REWARDS:
        raise unknown_name("reward", name, REWARDS, "reward")
    if floor is not None and REWARDS[name].needs_budget:
        raise UsageError(
            f"the reward '{name}' keeps a budget and takes no floor under the accuracy; leave accuracy_floor= out, "
            "or search with reward=accuracy_guaranteed."
        )
    return REWARDS[name]


def with_floor(reward: Reward, floor: float, original_cost: float) -> Reward:
    """Return a reward under which every policy below the floor is worth less than every one that keeps it.

    Below the floor a policy is paid as if it cost what the original network does: what it saves is worth
    nothing, so the only way up is accuracy. Nothing that keeps the floor is worth less than an accuracy of
    just the floor at that cost (dearer policies, which noisy tables know, are paid the same).

    Args:
        reward: worth more for a smaller error, and not more for a higher cost.
        floor: least accuracy, 0..1.
        original_cost: of the original network, in the cost's unit.
    """

    def function(accuracy: float, cost: float, metric: Metric) -> float:
        return reward(accuracy, min(cost, original_cost) if accuracy >= floor else original_cost, metric)

    return Reward(reward.name, reward.needs_budget, function)
