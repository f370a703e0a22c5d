"""A search that is over, without one: random policies of a traced network, and what they cost on a simulated device."""

from __future__ import annotations

import numpy as np
from simulated_device import microseconds

from amc_hw.budget.budget import parse_budget
from amc_hw.budget.cost import Cost, Term
from amc_hw.budget.network_costs import network_costs
from amc_hw.formats.graph import GraphTemplate
from amc_hw.pipeline.search import Search
from amc_hw.policy import Policy
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.runs.records import Episode
from amc_hw.search.study import StudyResult
from amc_hw.tracing.traced import TracedModel


class Cutter:
    """Prunes without reconstruction."""

    def __init__(self, traced: TracedModel) -> None:
        self.traced = traced

    def pruned(self, policy: Policy, thorough: bool = False):
        kept = first_channels(policy)
        return shrink(self.traced.model, self.traced.network, kept)

    def channel_importance(self):
        return {group: [1.0] * channels for group, channels in self.traced.network.original.items()}


def exact_cost(traced: TracedModel, template: GraphTemplate) -> Cost:
    """What the simulated device takes for the sum of the operators, in milliseconds."""
    groups = tuple(traced.choices)

    def value(channels: tuple[int, ...]) -> float:
        policy = dict(zip(groups, channels, strict=True))
        return sum(microseconds(operator) for operator in template.operators(policy)) / 1e3

    return Cost("latency_ms", [Term(groups, value)])


def finished_search(traced: TracedModel, cost: Cost, budget: str) -> Search:
    """Random policies within the budget, by the table; the score is the share of the budget that they use."""
    random = np.random.default_rng(1)
    limit = parse_budget("latency_ms", budget).target(cost(traced.network.original))
    policies = [draw_policy(traced.choices, random) for _ in range(300)]
    episodes = [
        Episode(
            episode=number,
            channels=policy,
            accuracy=cost(policy) / limit,
            reward=cost(policy) / limit - 1,
            cost=cost(policy),
        )
        for number, policy in enumerate(policies)
        if cost(policy) <= limit
    ]
    costs = network_costs(traced.network, cost, 100_000)
    budgets = (parse_budget("latency_ms", budget),)
    return Search(StudyResult(tuple(episodes)), traced.network.original, budgets, 0.0, costs, Cutter(traced))
