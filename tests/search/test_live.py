"""What a search shows while it runs."""

from __future__ import annotations

from amc_hw.budget.cost import Cost
from amc_hw.runs.records import Episode
from amc_hw.search.live import CURVE, LEVELS, describe, sparks
from amc_hw.search.study import StudyResult


def _episode(number: int, reward: float, kept: int) -> Episode:
    channels = {"a": kept, "b": 8}
    return Episode(episode=number, channels=channels, accuracy=max(0.0, 1 + reward), reward=reward, cost=10.0)


def test_the_best_policy_and_the_curve_are_shown() -> None:
    study = StudyResult(tuple(_episode(n, -1 + n / 100, 2 + n % 7) for n in range(60)))
    first, second = describe(study, Cost("macs", []), {"a": 8, "b": 8}).splitlines()
    assert "accuracy 59.00%" in first
    curve, kept = second.removeprefix("rewards ").split("  kept of every group ")
    assert len(curve) == CURVE
    assert list(curve) == sorted(curve)
    assert curve[0] != curve[-1] == LEVELS[-1]
    assert kept == LEVELS[int((2 + 59 % 7) / 8 * len(LEVELS))] + LEVELS[-1]


def test_policies_over_the_budget_do_not_flatten_the_curve() -> None:
    rewards = [-2.5, -0.4, -0.3, -0.2]
    study = StudyResult(tuple(_episode(n, reward, 4) for n, reward in enumerate(rewards)))
    curve = describe(study, Cost("macs", []), {"a": 8, "b": 8}).splitlines()[1].split()[1]
    assert len(set(curve[1:])) == 3
    assert curve[0] == curve[1]


def test_equal_values_are_drawn() -> None:
    assert sparks([1.0, 1.0], 1.0, 1.0) == LEVELS[0] * 2
