"""A budget as people write it: ``0.5x``, ``0.5x-int8``, ``12ms``, ``40M``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from amc_hw.errors import BudgetError, UsageError, unknown_name
from amc_hw.policy import DTYPES, Metric, Precision, as_precision
from amc_hw.runs.config import METRICS
from amc_hw.runs.wanted import EXAMPLES

_UNITS = {
    "latency_ms": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "macs": {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9},
    "params": {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9},
    "size_bytes": {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6},
}
_USUAL_UNITS = {"macs": ("k", "M", "G"), "params": ("k", "M"), "size_bytes": ("kB", "MB")}
_WORDS = {"latency_ms": "latency", "macs": "MACs", "params": "parameters", "size_bytes": "the file's size"}
_EXAMPLES = {METRICS[name]: f"0.5x or {example}" for name, example in EXAMPLES.items()}
_LEAST_MS = 1e-3
_LEAST_BARE = 1000
"""Below it, a number without a unit is taken for a slip: nobody has a network of 3 MACs, or a file of 2 bytes."""


@dataclass(frozen=True)
class Budget:
    """A limit on a metric: a share of the original's (``ratio``) or a value in the metric's unit (``absolute``).

    Attributes:
        of: the precision of the original that a ratio is of.
    """

    metric: Metric
    ratio: float | None = None
    absolute: float | None = None
    of: Precision = "fp32"

    def allowed(self, original: float) -> float:
        """Return the limit for a network whose original costs ``original``, also where that is within it by itself."""
        if self.ratio is not None:
            return self.ratio * original
        return math.inf if self.absolute is None else self.absolute

    def target(self, original: float) -> float:
        """Return the limit for a network whose original costs ``original``.

        Raises:
            BudgetError: the limit is not under the original's cost, so there is nothing to compress.
        """
        limit = self.allowed(original)
        if self.ratio is None and limit >= original:
            raise BudgetError(
                f"the original network already costs only {original:.4g} ({self.metric}), "
                f"within the budget of {limit:.4g}; give a smaller one."
            )
        return limit


def of_latency(budgets: Iterable[Budget]) -> Budget | None:
    """Return the one that is on the latency, on which the device has the last word, where there is one."""
    return next((budget for budget in budgets if budget.metric == "latency_ms"), None)


def parse_budget(metric: Metric, text: str) -> Budget:
    """Read a budget.

    Raises:
        UsageError: no number with ``x`` or a unit of the metric, a small number without a unit, a share that is not
            between 0 and 1, or one of the original in a precision that there is not.
    """
    if not text.strip():
        raise UsageError(
            f"a budget is empty; write for example {_EXAMPLES[metric]}, and between commas one each: 0.8x,0.6x."
        )
    of_precisions = metric not in ("macs", "params")
    match = re.fullmatch(r"\s*([+-]?[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zA-Z]*)(?:-([\w-]+))?\s*", text)
    if match is None:
        of_int8 = " (0.5x-int8 is a share of what the original takes in int8)" if of_precisions else ""
        raise UsageError(
            f"the budget '{text}' is no number with a unit; write for example {_EXAMPLES[metric]}{of_int8}."
        )
    value, unit = float(match[1]), match[2].lower()
    if match[3] and unit != "x":
        raise UsageError(f"the budget '{text}' names a precision, as only a share of the original's does: 0.5x-int8.")
    if match[3] and not of_precisions:
        raise UsageError(f"the budget '{text}' names a precision, which {_WORDS[metric]} do not depend on; write 0.5x.")
    if unit == "x":
        if not 0 < value < 1:
            raise UsageError(f"the budget '{text}' must be more than 0x and less than 1x of the original.")
        return Budget(metric, ratio=value, of=_precision(match[3]))
    meant = f"; did you mean '{value:g}x', a share of the original's?" if not unit and 0 < value < 1 else ""
    if unit not in _UNITS[metric]:
        raise UsageError(
            f"the budget '{text}' has no unit of {_WORDS[metric]}; write for example {_EXAMPLES[metric]}{meant or '.'}"
        )
    absolute = value * _UNITS[metric][unit]
    if not 0 < absolute < math.inf:
        raise UsageError(f"the budget '{text}' must be more than 0, and finite.")
    if metric != "latency_ms" and absolute < 1:
        raise UsageError(f"the budget '{text}' of {_WORDS[metric]} is less than one{meant or '.'}")
    if metric == "latency_ms" and absolute <= _LEAST_MS:
        raise UsageError(
            f"the budget '{text}' is a microsecond or less, in which no network runs; write for example "
            f"{_EXAMPLES[metric]}."
        )
    if not unit and absolute < _LEAST_BARE:
        meant = " or ".join(f"'{match[1]}{each}'" for each in _USUAL_UNITS[metric])
        raise UsageError(f"the budget '{text}' of {_WORDS[metric]} has no unit; did you mean {meant}?")
    return Budget(metric, absolute=absolute)


def _precision(name: str | None) -> Precision:
    """Return the precision that a share names, or fp32; raise UsageError with the nearest where there is none."""
    if name is None:
        return "fp32"
    if name.lower() not in DTYPES:
        raise unknown_name("precision in a budget", name, DTYPES)
    return as_precision(name.lower())
