from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amc_hw.report.axes import linear_axis
from amc_hw.report.plots import MOST_MARKS, line_path, thinned

values = st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=20)


def test_ticks_are_round_and_evenly_placed() -> None:
    axis = linear_axis("ms", [0.61, 1.29], padding=0)
    assert [tick.label for tick in axis.ticks] == ["0.8", "1.0", "1.2"]
    gaps = [b.at - a.at for a, b in zip(axis.ticks, axis.ticks[1:], strict=False)]
    assert gaps == pytest.approx([100 * 0.2 / 0.68] * 2, abs=0.02)


def test_counted_things_have_whole_ticks() -> None:
    axis = linear_axis("epoch", [1, 2, 3], whole=True)
    assert [tick.label for tick in axis.ticks] == ["1", "2", "3"]


@given(values, st.booleans())
def test_every_value_lies_inside_and_labels_differ(numbers: list[float], whole: bool) -> None:
    axis = linear_axis("x", numbers, whole=whole)
    assert all(-0.01 <= axis.at(number) <= 100.01 for number in numbers)
    assert len(axis.ticks) <= 8
    assert all(-0.01 <= tick.at <= 100.01 for tick in axis.ticks)


def test_one_value_lies_in_the_middle() -> None:
    assert linear_axis("x", [5.0]).at(5.0) == pytest.approx(50)
    assert linear_axis("x", [0.0]).at(0.0) == pytest.approx(50)


def test_paths_run_from_the_bottom_upward() -> None:
    x, y = linear_axis("x", [0, 10], padding=0), linear_axis("y", [0, 10], padding=0)
    assert line_path(x, y, [(0, 0), (5, 10)]) == "M0 100L50 0"
    assert line_path(x, y, [(0, 0), (5, 10)], step=True) == "M0 100H50V0"
    assert line_path(x, y, []) == ""


@given(st.integers(0, 10 * MOST_MARKS))
def test_no_more_marks_than_a_browser_likes(length: int) -> None:
    assert len(thinned(length)) <= MOST_MARKS
    assert length > MOST_MARKS or len(thinned(length)) == length
