"""Scales with round ticks: from values to percentages along a plot's side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from amc_hw.report.numbers import MINUS, fixed


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent of its length."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A linear scale from ``low`` to ``high``."""

    title: str
    low: float
    high: float
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Return where a value lies, in percent of the axis; below 0 or above 100 where it is outside."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def linear_axis(title: str, values: Iterable[float], *, padding: float = 0.06, whole: bool = False) -> Axis:
    """Return an axis that holds all values with some room around them.

    Args:
        title: what is drawn along it, with its unit.
        values: at least one finite value.
        padding: the room at each end, as a share of the values' span.
        whole: ticks at whole numbers only (episodes, epochs).
    """
    values = list(values)
    low, high = min(values), max(values)
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)):
        span = max(0.1 * abs(high), 1.0 if whole else 1e-3)
        low, high = low - span / 2, high + span / 2
    low, high = low - padding * span, high + padding * span
    return Axis(title, low, high, _ticks(low, high, whole))


def _ticks(low: float, high: float, whole: bool, about: int = 6) -> tuple[Tick, ...]:
    """Return ticks at multiples of 1, 2 or 5 times a power of ten, about ``about`` of them."""
    least = (high - low) / about
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)
    if whole:
        step = max(1.0, step)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(
        Tick(round(100 * (index * step - low) / (high - low), 2), _label(index * step, decimals))
        for index in range(first, last + 1)
    )


def _label(value: float, decimals: int) -> str:
    return fixed(value, decimals) if abs(value) < 1e6 else f"{value:.3g}".replace("-", MINUS)
