from __future__ import annotations

import numpy as np
import pytest

from amc_hw.budget.cost import Cost, Term
from amc_hw.errors import BudgetError, UsageError
from amc_hw.search.space import SearchSpace, Step

STEPS = (
    Step("a", (8, 16, 32), (32, 3, 16)),
    Step("b", (8, 16, 32, 64), (64, 32, 8)),
    Step("c", (4, 8), (8, 64, 8)),
)


def product(channels: tuple[int, ...]) -> float:
    return float(np.prod(channels))


COST = Cost("macs", [Term(("a",), product), Term(("a", "b"), product), Term(("b", "c"), product)], constant=64)
ORIGINAL = 32 + 32 * 64 + 64 * 8 + 64


def test_the_first_state_is_the_original_network() -> None:
    space = SearchSpace(STEPS, COST)
    state = space.rollout().state()
    assert space.state_size == len(state) == 3 + 2 + 3
    assert state.dtype == np.float32
    share_b, share_a, share_c = 32 * 64 + 64 * 8, 32 + 32 * 64, 64 * 8
    expected_static = [0, (32 - 8) / 56, 0, 1, (share_a - share_c) / (share_b - share_c)]
    assert state[:5] == pytest.approx(expected_static)
    rest = (32 * 64 + 64 * 8) / ORIGINAL  # a cost, as at all other steps, not weights
    assert state[5:] == pytest.approx([0, rest, 1])


def test_later_states_tell_what_was_executed() -> None:
    rollout = SearchSpace(STEPS, COST).rollout()
    assert rollout.decide(0.45) == 0.5
    reduced = 1 - (16 + 16 * 64 + 64 * 8 + 64) / ORIGINAL
    assert rollout.state()[5:] == pytest.approx([reduced, 64 * 8 / ORIGINAL, 0.5])
    assert rollout.decide(0.0) == 0.125
    reduced = 1 - (16 + 16 * 8 + 8 * 8 + 64) / ORIGINAL
    assert rollout.state()[5:] == pytest.approx([reduced, 0, 0.125])
    assert not rollout.done
    assert rollout.decide(1.0) == 1
    assert rollout.done
    assert rollout.policy == {"a": 16, "b": 8, "c": 8}
    assert rollout.state()[5:] == pytest.approx([reduced, 0, 1])


def test_with_a_budget_the_nearest_choice_that_leaves_it_reachable_is_executed() -> None:
    floor = 8 + 8 * 8 + 8 * 4 + 64
    rollout = SearchSpace(STEPS, COST, budget=floor + 16 * 4).rollout()
    assert [rollout.decide(1.0) for _ in STEPS] == [8 / 32, 8 / 64, 1]
    assert COST(rollout.policy) <= floor + 16 * 4


def test_an_episode_may_keep_everything_where_there_is_no_budget() -> None:
    rollout = SearchSpace(STEPS, COST).rollout()
    assert [rollout.decide(1.0) for _ in STEPS] == [1, 1, 1]


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(UsageError, match="no channel group"):
        SearchSpace([], COST)
    with pytest.raises(UsageError, match="number of features"):
        SearchSpace([Step("a", (8,), (1,)), Step("b", (8,), (1, 2))], COST)
    with pytest.raises(UsageError, match="must be positive"):
        SearchSpace([Step("a", (8,), (1,))], Cost("params", []))
    with pytest.raises(BudgetError, match="the least that these choices reach"):
        SearchSpace(STEPS, COST, budget=100)


def test_states_stay_within_0_and_1_on_any_table(problem) -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        rollout = problem(seed).space().rollout()
        while not rollout.done:
            rollout.decide(random.uniform())
            state = rollout.state()
            assert np.all((state >= 0) & (state <= 1))
