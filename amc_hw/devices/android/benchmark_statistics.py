"""The numbers that benchmark_model prints, read strictly: what cannot be true is refused with its line."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from amc_hw.errors import DeviceError


class BenchmarkLogError(DeviceError):
    """A benchmark_model log is incomplete, damaged, or says that the benchmark did not run as asked."""


class NoLogError(BenchmarkLogError):
    """A text is no output of benchmark_model at all."""


_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?(e[+-]?[0-9]{1,3})?")
_VALUE = r"([^\s=()]+)"
_STATISTICS = re.compile(
    rf"count={_VALUE}"
    rf"(?: first={_VALUE} curr={_VALUE} min={_VALUE} max={_VALUE} avg={_VALUE} std={_VALUE}"
    rf"| curr={_VALUE}(\(all same\))?)?"
    rf"(?: p5={_VALUE} median={_VALUE} p95={_VALUE})?"
)


@dataclass(frozen=True)
class Statistics:
    """Times of one phase of a benchmark, in microseconds; the percentiles are None in builds before 2024."""

    count: int
    first_us: int
    curr_us: int
    min_us: int
    max_us: int
    avg_us: float
    std_us: float
    p5_us: int | None = None
    median_us: int | None = None
    p95_us: int | None = None


def shown(line: str) -> str:
    """Return a line for an error message: quoted, unprintable characters escaped, at most 160 characters."""
    return repr(line.strip()[:160])


def damaged(line: str, reason: str) -> BenchmarkLogError:
    """Return the error for a line that cannot be read."""
    return BenchmarkLogError(f"{reason} in the line {shown(line)}; take the log again.")


def number(text: str, line: str) -> float:
    """Read a finite number >= 0 as benchmark_model prints it; refuse all else with the line it stands in."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise damaged(line, f"{shown(text[:40])} is not a time or count that can be")
    return value


def positive(text: str, line: str) -> float:
    """Read a number > 0."""
    if not (value := number(text, line)):
        raise damaged(line, "a zero that cannot be")
    return value


def whole(text: str, line: str) -> int:
    """Read an integer >= 0."""
    if not text.isdecimal():
        raise damaged(line, f"{shown(text[:40])} is not a whole number")
    return int(number(text, line))


def close(a: float, b: float) -> bool:
    """Say whether two prints of one time agree: averages have six digits, some builds cut decimals."""
    return abs(a - b) <= 1 + 1e-5 * max(a, b)


def read_statistics(content: str) -> Statistics | None:
    """Read ``count=200 first=... std=... [p5=... median=... p95=...]`` or one of its short forms.

    The short forms are ``count=0``, ``count=1 curr=X`` and ``count=N curr=X(all same)``.

    Returns:
        The statistics, or None for ``count=0``.

    Raises:
        BenchmarkLogError: the line is damaged, or its values contradict each other.
    """
    found = _STATISTICS.fullmatch(content.strip())
    if not found:
        raise damaged(content, "damaged statistics")
    count = whole(found[1], content)
    if count == 0:
        if found[2] or found[8]:
            raise damaged(content, "times of no run at all")
        return None
    percentiles = [_time(text, content) for text in found.group(10, 11, 12) if text]
    if found[2]:
        first, curr, low, high = (_time(text, content) for text in found.group(2, 3, 4, 5))
        average, deviation = positive(found[6], content), number(found[7], content)
    elif found[8] and (count > 1) == bool(found[9]):
        first = curr = low = high = _time(found[8], content)
        average, deviation = float(high), 0.0
    else:
        raise damaged(content, "damaged statistics")
    inside = all(low <= value <= high for value in (first, curr, *percentiles))
    rounding = 1e-5 * high
    if not inside or not low - rounding <= average <= high + rounding or deviation > high - low + 1:
        raise damaged(content, "values outside of [min, max]")
    if percentiles != sorted(percentiles):
        raise damaged(content, "percentiles that are out of order")
    return Statistics(count, first, curr, low, high, average, deviation, *percentiles)


def _time(text: str, line: str) -> int:
    """Read a whole number of microseconds > 0."""
    positive(text, line)
    return whole(text, line)
