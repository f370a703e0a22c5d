from __future__ import annotations

import math

import pytest

from amc_hw.budget.cost import Cost, Term, format_cost


@pytest.fixture
def chain() -> Cost:
    return Cost(
        "macs",
        [
            Term(("a",), lambda channels: 27.0 * channels[0]),
            Term(("a", "b"), lambda channels: 9.0 * channels[0] * channels[1]),
            Term(("b", "b"), lambda channels: float(channels[0] + channels[1])),
        ],
        constant=100.0,
    )


def test_a_cost_is_the_constant_and_the_sum_of_its_terms(chain: Cost) -> None:
    assert chain({"a": 4, "b": 6}) == 100 + 27 * 4 + 9 * 4 * 6 + 12


def test_it_knows_which_terms_touch_a_group(chain: Cost) -> None:
    assert chain.groups == ("a", "b")
    assert chain.touching("a") == (0, 1)
    assert chain.touching("b") == (1, 2)
    assert chain.touching("elsewhere") == ()
    assert chain.values({"a": 4, "b": 6}) == [108, 216, 12]
    assert chain.value(1, {"a": 4, "b": 6}) == 216


def test_every_term_is_computed_once_for_the_same_channels() -> None:
    asked = []

    def value(channels: tuple[int, ...]) -> float:
        asked.append(channels)
        return float(channels[0])

    cost = Cost("latency_ms", [Term(("a",), value)])
    for channels in (8, 16, 8, 16):
        assert cost({"a": channels, "unrelated": 3}) == channels
    assert asked == [(8,), (16,)]


def test_the_sum_does_not_depend_on_the_order_of_the_terms() -> None:
    values = [1e16, 0.1, -1e16, 0.2, 0.3]
    terms = [Term(("a",), lambda channels, value=value: value) for value in values]
    forward, backward = Cost("latency_ms", terms), Cost("latency_ms", reversed(terms))
    assert forward({"a": 1}) == backward({"a": 1}) == math.fsum([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("latency_ms", 1.31, "1.31 ms"),
        ("macs", 40.9e6, "40.9 M MACs"),
        ("macs", 3.2e9, "3.2 G MACs"),
        ("params", 270e3, "270 k parameters"),
        ("params", 12.0, "12 parameters"),
    ],
)
def test_costs_are_written_with_their_unit(metric: str, value: float, text: str) -> None:
    assert format_cost(metric, value) == text
