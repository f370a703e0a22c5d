from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from amc_hw.budget.bounds import Bounds
from amc_hw.budget.cost import Cost, Term
from amc_hw.search.moves import Move, Tally, best, by_chance, fitted, grown, shrunk, varied


def test_a_tally_follows_the_cost_of_its_policy(problem) -> None:
    for seed in range(20):
        made = problem(seed, groups=4)
        space, draw = made.space(), np.random.default_rng(seed)
        tally = Tally(space.bounds, space.original)
        for _ in range(30):
            step = space.steps[draw.integers(4)]
            expected = [space.share_used({**tally.policy, step.group: count}) for count in step.choices]
            assert tally.after(step.group)[0] == pytest.approx(expected)
            fitting = [
                i
                for i, count in enumerate(step.choices)
                if made.cost({**tally.policy, step.group: count}) <= made.budget
            ]
            assert list(tally.fitting(step.group, range(len(step.choices)))) == fitting
            larger = [i for i in fitting if i > tally.position(step.group)]
            assert tally.next_larger(step.group) == next(iter(larger), None)
            tally.change(step.group, int(draw.choice(step.choices)))
        assert tally.shares == pytest.approx([made.cost(tally.policy) / made.budget])


def test_shrinking_only_takes_away_and_growing_only_adds_until_nothing_fits(problem) -> None:
    grew = 0
    for seed in range(80):
        made = problem(seed, groups=4)
        space = made.space()
        smaller = shrunk(space.original, space.bounds, best(lambda move: move.change))
        assert made.cost(smaller) <= made.budget
        assert all(smaller[group] <= count for group, count in space.original.items())
        larger = grown(smaller, space.bounds, best(lambda move: -move.change))
        assert made.cost(larger) <= made.budget
        assert all(larger[group] >= count for group, count in smaller.items())
        assert all(larger[group] == 0 for group, count in smaller.items() if not count)
        for step in space.steps:
            for count in step.choices:
                if count > larger[step.group] > 0:
                    assert made.cost({**larger, step.group: count}) > made.budget
        grew += larger != smaller
    assert grew > 5


def test_variations_fit_and_differ(problem) -> None:
    made = problem(1, groups=5)
    space, draw = made.space(), np.random.default_rng(0)
    start = fitted(space.original, space.bounds, draw)
    found = [varied(start, space, draw, groups=2, notches=2) for _ in range(50)]
    assert all(made.cost(policy) <= made.budget for policy in found)
    assert len({tuple(policy.values()) for policy in found}) > 5


def test_a_staircase_whose_next_notch_saves_nothing_is_gone_down_by_the_step() -> None:
    ticks = {0: 0.0, 8: 4.0, 12: 6.2, 16: 6.0, 20: 8.2, 24: 8.0}  # kernels take 8 channels at a time
    choices = {name: tuple(ticks) for name in ("a", "b", "c")}
    cost = Cost("latency_ms", [Term((name,), lambda channels: ticks[channels[0]]) for name in choices], 1.0)
    policy = {"a": 24, "b": 24, "c": 0}
    smaller = shrunk(policy, Bounds(cost, choices, 16.0), best(lambda move: move.change))
    assert sorted(smaller.values()) == [0, 16, 24]


def test_chance_gives_every_group_that_has_a_move_the_same_odds() -> None:
    moves = {"a": None, "b": Move("b", 1, 2, 0.1), "c": Move("c", 1, 2, 0.1), "d": None, "e": Move("e", 1, 2, 0.1)}
    draw = np.random.default_rng(0)
    found = Counter(by_chance(draw)(list(moves), moves.get).group for _ in range(3000))
    assert set(found) == {"b", "c", "e"}
    assert all(900 < times < 1100 for times in found.values())
    assert by_chance(draw)(["a", "d"], moves.get) is None
