"""What LiteRT's benchmark_model prints otherwise than TensorFlow Lite's: its results, in ms, and its profile."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amc_hw.devices.android.benchmark_profile import OperatorTime
from amc_hw.devices.android.benchmark_statistics import BenchmarkLogError, Statistics, damaged, number, whole

RESULTS = "========== BENCHMARK RESULTS =========="
_LINE = re.compile(r"(?:\[\S*benchmark_litert_model\.h:[0-9]+\] )?(Warmup|Inference) \(avg\): +(\S+) ms \((\S+) runs\)")
_PARTS = re.compile(r"LiteRT::\w+\[.*\]")
"""What LiteRT does before and after the operators."""
_ROUNDING_US = 5.1
"""Results have two decimals of a millisecond."""


def is_litert_log(lines: Sequence[str]) -> bool:
    """Tell whether a log, its `contents`, has LiteRT's results."""
    return any(line.strip() == RESULTS for line in lines)


def check_results(lines: Sequence[str], warmup: Statistics | None, regular: Statistics) -> None:
    """Hold LiteRT's results against the statistics lines, which have more digits.

    Raises:
        BenchmarkLogError: the results are missing, or of other runs.
    """
    found = {said[1]: (said, line) for line in lines if (said := _LINE.fullmatch(line.strip()))}
    for name, phase in (("Warmup", warmup), ("Inference", regular)):
        if name not in found:
            raise BenchmarkLogError(f"the log has no line '{name} (avg)' among its results; keep the whole output.")
        said, line = found[name]
        if phase is None:
            continue
        count, avg_us = whole(said[3], line), number(said[2], line) * 1e3
        if count != phase.count or abs(avg_us - phase.avg_us) > _ROUNDING_US:
            raise damaged(line, f"other results than those of {phase.count} runs of {phase.avg_us:g} us")


def without_its_own(operators: Sequence[OperatorTime]) -> tuple[OperatorTime, ...]:
    """Return the network's operators without what LiteRT does around them."""
    return tuple(operator for operator in operators if not _PARTS.fullmatch(operator.type))
