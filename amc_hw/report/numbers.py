"""Numbers as people read them: a unit with each, digits that fit the size, a true minus sign."""

from __future__ import annotations

import math
from collections.abc import Callable

MINUS, TIMES, MISSING = "\u2212", "\u00d7", "\u2013"


def fixed(value: float, decimals: int) -> str:
    """Return ``value`` with ``decimals`` digits after the point and a typographic minus; never "−0.00"."""
    text = f"{value:.{decimals}f}"
    if text.startswith("-"):
        return f"{MINUS}{text[1:]}" if float(text) else text[1:]
    return text


def significant(value: float, digits: int = 3) -> str:
    """Return a value >= 0 with ``digits`` significant digits and no exponent below a thousand."""
    return f"{value:#.{digits}g}".rstrip(".") if value else "0"


def percent(fraction: float) -> str:
    """0.9173 -> "91.73 %"."""
    return f"{fixed(100 * fraction, 2)} %"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points: -0.0033 -> "−0.33 points"."""
    text = fixed(100 * difference, 2)
    return f"+{text} points" if difference > 0 and float(text) else f"{text} points"


def signed_percent(share: float) -> str:
    """0.018 -> "+1.8 %"."""
    text = fixed(100 * share, 1)
    return f"+{text} %" if share > 0 and float(text) else f"{text} %"


def milliseconds(value: float, scale: float | None = None) -> str:
    """1.31 -> "1.310 ms"; fewer decimals as values grow, more below a tenth.

    ``scale`` is the largest of the values beside it: numbers in one column have the same decimals.
    """
    scale = value if scale is None else scale
    decimals = 3 if scale < 10 else 2 if scale < 100 else 1 if scale < 1000 else 0
    if 0 < scale < 0.1:
        decimals = 2 - math.floor(math.log10(scale))
    return f"{fixed(value, decimals)} ms"


def count(value: float) -> str:
    """40.9e6 -> "40.9 M"; three significant digits."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor * 0.9995:
            scaled = value / factor
            return f"{scaled:,.0f} {prefix}" if scaled >= 999.5 else f"{significant(scaled)} {prefix}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Bytes in decimal units: 1_080_000 -> "1.08 MB"."""
    text = count(value)
    return f"{text}B" if " " in text else f"{text} B"


def ratio(value: float) -> str:
    """0.5 -> "0.50×"."""
    return f"{fixed(value, 2 if value >= 0.095 else 3)}{TIMES}"


def duration(seconds: float) -> str:
    """252 -> "4 min 12 s"."""
    if seconds < 60:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def with_unit(metric: str) -> Callable[[float], str]:
    """Return how the values of a budget's metric are written."""
    known: dict[str, Callable[[float], str]] = {
        "latency_ms": milliseconds,
        "macs": lambda value: f"{count(value)} MACs",
        "params": lambda value: f"{count(value)} parameters",
        "size_bytes": size,
    }
    return known.get(metric, lambda value: f"{significant(value, 4)} {metric}")
