"""The device has the last word: what it finds over budget is passed over or made smaller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated_device import SimulatedDevice, microseconds

from amc_hw.budget import parse_budget
from amc_hw.errors import BudgetError
from amc_hw.latency.cost import Cost, Term
from amc_hw.latency.graph import GraphTemplate
from amc_hw.latency.plan import draw_policy
from amc_hw.policy import Policy
from amc_hw.pruning.surgery import shrink
from amc_hw.search.study import Episode, StudyResult
from amc_hw.stages.search import Search, network_costs
from amc_hw.stages.subject import Traced
from amc_hw.stages.verify import repair, verify


class Cutter:
    """Prunes without reconstruction."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced

    def pruned(self, policy: Policy, thorough: bool = False):
        kept = {group: range(count) for group, count in policy.items()}
        return shrink(self.traced.model, self.traced.network, kept)


def exact_cost(traced: Traced, template: GraphTemplate) -> Cost:
    """What the simulated device takes for the sum of the operators, in milliseconds."""
    groups = tuple(traced.choices)

    def value(channels: tuple[int, ...]) -> float:
        policy = dict(zip(groups, channels, strict=True))
        return sum(microseconds(operator) for operator in template.operators(policy)) / 1e3

    return Cost("latency_ms", [Term(groups, value)])


def finished_search(traced: Traced, cost: Cost, budget: str) -> Search:
    """Random policies within the budget, by the table; the score is the share of the budget that they use."""
    random = np.random.default_rng(1)
    limit = parse_budget("latency_ms", budget).target(cost(traced.network.original))
    policies = [draw_policy(traced.choices, random) for _ in range(300)]
    episodes = [
        Episode(number, policy, cost(policy) / limit, cost(policy) / limit - 1, cost(policy), {}, 0.0)
        for number, policy in enumerate(policies)
        if cost(policy) <= limit
    ]
    costs = network_costs(traced.network, cost)
    return Search(StudyResult(tuple(episodes)), limit, parse_budget("latency_ms", budget), costs, Cutter(traced))


class Stubborn(SimulatedDevice):
    """Small networks gain less here than the table says: every file has a fixed cost."""

    def __init__(self, fixed_us: float) -> None:
        super().__init__(overhead=1.0)
        self.fixed_us = fixed_us

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        return [self.fixed_us + sample for sample in super().time_model(file, warmup=warmup, runs=runs)]


def silent(done: int, total: int, text: str) -> None:
    pass


def run_verify(traced: Traced, template: GraphTemplate, folder: Path, device: SimulatedDevice, budget: str):
    search = finished_search(traced, exact_cost(traced, template), budget)
    return search, verify(folder, traced, search, device, lambda model: 0.5, silent)


def test_a_true_table_needs_one_measurement(traced: Traced, template: GraphTemplate, tmp_path: Path) -> None:
    search, verified = run_verify(traced, template, tmp_path, SimulatedDevice(overhead=1.2), "0.6x")
    assert len(verified.candidates) == 1
    assert verified.chosen.channels == search.study.best.policy
    assert not verified.chosen.repaired


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_what_is_over_budget_is_passed_over_or_repaired(
    share: float, traced: Traced, template: GraphTemplate, tmp_path: Path
) -> None:
    original_us = 1e3 * exact_cost(traced, template)(traced.network.original)
    _, verified = run_verify(traced, template, tmp_path, Stubborn(share * original_us), "0.6x")
    chosen = verified.chosen
    assert len(verified.candidates) > 1
    assert verified.candidates[0].measured_ms > 0.6 * verified.candidates[0].original_ms
    assert chosen.measured_ms <= 0.6 * chosen.original_ms
    assert chosen.measured_ms >= 0.5 * chosen.original_ms


def test_a_budget_that_the_device_cannot_keep_is_refused(
    traced: Traced, template: GraphTemplate, tmp_path: Path
) -> None:
    original_us = 1e3 * exact_cost(traced, template)(traced.network.original)
    with pytest.raises(BudgetError):
        run_verify(traced, template, tmp_path, Stubborn(3 * original_us), "0.6x")


def test_repair_stays_on_the_grid_and_under_the_limit(traced: Traced, template: GraphTemplate) -> None:
    cost = exact_cost(traced, template)
    for ratio in (0.9, 0.7, 0.5, 0.3):
        limit = ratio * cost(traced.network.original)
        policy = repair(traced.network.original, cost, traced.choices, limit)
        assert cost(policy) <= limit
        assert all(policy[group] in counts for group, counts in traced.choices.items())
    with pytest.raises(BudgetError, match="smallest"):
        repair(traced.network.original, cost, traced.choices, 1e-6)
