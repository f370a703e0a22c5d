from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amc_hw.budget.budget import Budget, parse_budget
from amc_hw.errors import BudgetError, UsageError


@pytest.mark.parametrize(
    ("metric", "text", "original", "target"),
    [
        ("latency_ms", "0.5x", 10.0, 5.0),
        ("latency_ms", "12ms", 20.0, 12.0),
        ("latency_ms", " 850 us ", 20.0, 0.85),
        ("latency_ms", "0.01s", 20.0, 10.0),
        ("macs", "150M", 300e6, 150e6),
        ("macs", "1.2g", 3e9, 1.2e9),
        ("params", "250000", 1e6, 250e3),
        ("params", ".25X", 1e6, 250e3),
    ],
)
def test_reads_shares_and_values(metric: str, text: str, original: float, target: float) -> None:
    assert parse_budget(metric, text).target(original) == pytest.approx(target)


@pytest.mark.parametrize("text", ["", "fast", "0x", "1x", "-1ms", "12", "12M", "0ms", "nanms", "1e999ms", "12 m s"])
def test_refuses_what_is_no_latency(text: str) -> None:
    with pytest.raises(UsageError):
        parse_budget("latency_ms", text).target(5.0)


def test_a_budget_that_is_met_already_is_refused() -> None:
    with pytest.raises(BudgetError, match="already"):
        parse_budget("latency_ms", "12ms").target(9.0)


@given(st.text(max_size=12))
def test_any_text_gives_a_budget_or_a_usage_error(text: str) -> None:
    try:
        budget = parse_budget("latency_ms", text)
    except UsageError:
        return
    assert (budget.ratio is None) != (budget.absolute is None)


@pytest.mark.parametrize(
    ("metric", "text", "says"),
    [
        ("latency_ms", "12ms-int8", "names a precision, as only a share of the original's does"),
        ("latency_ms", "0.5x-int9", "did you mean 'int8'"),
        ("macs", "0.5x-int8", "names a precision, which MACs do not depend on"),
        ("latency_ms", "0.5x-", "no number with a unit"),
        ("macs", "0.5", "of MACs is less than one; did you mean '0.5x'"),
        ("params", ".25", "of parameters is less than one; did you mean '0.25x'"),
        ("size_bytes", "0.5", "of the file's size is less than one; did you mean '0.5x'"),
        ("macs", "0.0001k", r"is less than one\."),
        ("latency_ms", "0.5", "no unit of latency; write for example 0.5x or 12ms; did you mean '0.5x'"),
        ("macs", "1e400", "finite"),
        ("macs", "3", "of MACs has no unit; did you mean '3k' or '3M' or '3G'"),
        ("params", "999", "of parameters has no unit; did you mean '999k' or '999M'"),
        ("size_bytes", "1.2", "of the file's size has no unit; did you mean '1.2kB' or '1.2MB'"),
        ("macs", " ", "a budget is empty; write for example 0.5x or 150M"),
    ],
)
def test_half_an_operation_is_asked_about(metric: str, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_budget(metric, text)


def test_a_share_may_be_of_the_original_in_another_precision() -> None:
    assert parse_budget("latency_ms", "0.5x-int8-dynamic") == Budget("latency_ms", ratio=0.5, of="int8-dynamic")
    assert parse_budget("size_bytes", " 0.5X-int8 ") == Budget("size_bytes", ratio=0.5, of="int8")
    assert parse_budget("latency_ms", "0.5x").of == "fp32"
