from __future__ import annotations

import itertools
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amc_hw.budget.bounds import Bounds, OutOfReachError
from amc_hw.budget.cost import Cost, Term
from amc_hw.errors import BudgetError, UsageError

Choices = dict[str, tuple[int, ...]]


def staircase(seed: int, groups: int, most_choices: int = 6) -> tuple[Cost, Choices]:
    """A table as devices give them: steps of 8 channels, noise of 30 %, wider sometimes faster."""
    draw = random.Random(seed)
    names = [f"g{i}" for i in range(groups)]
    choices = {name: tuple(sorted(draw.sample(range(1, 65), draw.randint(1, most_choices)))) for name in names}

    def term(index: int, names: tuple[str, ...]) -> Term:
        def value(channels: tuple[int, ...]) -> float:
            work = 1.0
            for count in channels:
                work *= -(-count // 8)
            return work * random.Random(f"{seed} {index} {channels}").uniform(0.7, 1.3)

        return Term(names, value)

    terms = [term(i, pair) for i, pair in enumerate(itertools.pairwise(names))]
    terms += [term(len(terms), (names[0], names[-1])), term(-1, tuple(names[:3]))]
    return Cost("latency_ms", terms, draw.uniform(0, 2)), choices


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**9), groups=st.integers(1, 6), margin=st.floats(0, 0.01))
def test_the_least_that_is_named_can_be_reached(seed: int, groups: int, margin: float) -> None:
    cost, choices = staircase(seed, groups)
    whole = cost({group: counts[-1] for group, counts in choices.items()})
    with pytest.raises(OutOfReachError) as raised:
        Bounds(cost, choices, 0.01 * (1 - margin))
    ms, share = re.findall(r"([\d.e-]+) ms \(([\d.e-]+)x\)", str(raised.value.as_asked(whole, 1 - margin)))[-1]
    for enough in (float(ms), float(share) * whole):
        Bounds(cost, choices, enough * (1 - margin))
    assert f"({share}x-int8), so give" in str(raised.value.as_asked(whole, 1 - margin, "int8"))


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**9), groups=st.integers(1, 6), tightness=st.floats(0, 1), shuffled=st.booleans())
def test_random_feasible_choices_never_exceed_the_budget(
    seed: int, groups: int, tightness: float, shuffled: bool
) -> None:
    cost, choices = staircase(seed, groups)
    floor = Bounds(cost, choices, 1e9).floor
    widest = {group: counts[-1] for group, counts in choices.items()}
    budget = cost(floor) + tightness * max(0.0, cost(widest) - cost(floor))
    bounds = Bounds(cost, choices, budget)
    draw = random.Random(seed)
    order = list(choices)
    if shuffled:
        draw.shuffle(order)
    policy: dict[str, int] = {}
    for group in order:
        feasible = bounds.feasible(policy, group)
        assert feasible
        assert set(feasible) <= set(choices[group])
        policy[group] = draw.choice(feasible)
    assert cost(policy) <= budget


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**9), groups=st.integers(1, 5), share=st.floats(0.01, 0.999))
def test_a_budget_under_the_floor_is_refused_with_a_value_that_is_accepted(
    seed: int, groups: int, share: float
) -> None:
    cost, choices = staircase(seed, groups)
    least = cost(Bounds(cost, choices, 1e9).floor)
    with pytest.raises(BudgetError) as refusal:
        Bounds(cost, choices, share * least)
    named = float(re.search(r"reach is (\S+) ms", str(refusal.value))[1])
    assert named == pytest.approx(least, rel=2e-3)
    assert cost(Bounds(cost, choices, named).floor) == least


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_feasible_choices_are_those_that_fit_with_the_floor(seed: int) -> None:
    cost, choices = staircase(seed, 4)
    floor = Bounds(cost, choices, 1e9).floor
    bounds = Bounds(cost, choices, cost(floor) * 1.5)
    policy: dict[str, int] = {}
    for group, counts in choices.items():
        expected = [count for count in counts if cost({**floor, **policy, group: count}) <= bounds.limits[0].most]
        assert list(bounds.feasible(policy, group)) == expected
        policy[group] = expected[-1]


def test_the_floor_of_a_monotone_cost_is_the_smallest_choices() -> None:
    cost = Cost("macs", [Term(("a", "b"), lambda channels: float(channels[0] * channels[1]))])
    bounds = Bounds(cost, {"a": (2, 4, 8), "b": (3, 6)}, budget=20)
    assert bounds.floor == {"a": 2, "b": 3}
    assert bounds.feasible({}, "a") == (2, 4)
    assert bounds.feasible({"a": 4}, "b") == (3,)
    assert bounds.feasible({"a": 2}, "b") == (3, 6)


def test_where_wider_is_faster_a_budget_under_the_smallest_choices_is_reached() -> None:
    slow_when_narrow = {4: 5.0, 8: 2.0, 16: 4.0}
    cost = Cost("latency_ms", [Term(("a",), lambda channels: slow_when_narrow[channels[0]])])
    bounds = Bounds(cost, {"a": (4, 8, 16)}, budget=4.5)
    assert bounds.floor == {"a": 8}
    assert bounds.feasible({}, "a") == (8, 16)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_that_is_no_positive_number_is_refused(budget: float) -> None:
    cost = Cost("macs", [Term(("a",), lambda channels: 1.0)])
    with pytest.raises(BudgetError, match="positive number"):
        Bounds(cost, {"a": (1,)}, budget)


def test_choices_that_are_missing_or_do_not_ascend_are_refused() -> None:
    cost = Cost("macs", [Term(("a",), lambda channels: 1.0)])
    with pytest.raises(UsageError, match="group 'a', which has no choices"):
        Bounds(cost, {"b": (1,)}, 5)
    for counts in ((), (8, 4), (4, 4)):
        with pytest.raises(UsageError, match="that ascend"):
            Bounds(cost, {"a": counts}, 5)


def test_the_bounds_of_an_episode_of_a_deep_network_take_milliseconds() -> None:
    """As many groups, choices and terms as a ResNet-56; the promise is 30 ms on an idle core."""
    names = [f"g{i}" for i in range(40)]
    terms = [
        Term(names[i : i + 2], lambda channels: float(channels[0] * channels[-1])) for i in range(40) for _ in "12"
    ]
    cost = Cost("macs", [Term(tuple(term.groups), term.value) for term in terms])
    choices = {name: tuple(range(4, 64, 2)) for name in names}
    bounds = Bounds(cost, choices, 0.5 * cost(dict.fromkeys(names, 62)))
    seconds = []
    for seed in range(4):  # the first fills the memory of the terms
        draw = random.Random(seed)
        policy: dict[str, int] = {}
        started = time.process_time()
        for name in names:
            policy[name] = draw.choice(bounds.feasible(policy, name))
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1
