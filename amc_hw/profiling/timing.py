"""What repeated timings of a file say: its latency, and how far that may be off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amc_hw.budget.budget import Budget
from amc_hw.devices.base import Times
from amc_hw.runs.records import BenchmarkedModel, Repeat

STEADY = 0.01
"""Share of a latency that may be in doubt after so many repeats as there are; beyond it, they are called unstable."""
SURE = 2.0
"""Standard errors that a latency has to be away from a budget."""


@dataclass(frozen=True)
class Timing:
    """One file's samples in microseconds, one list for each repeat; `Times` where the device gives only their mean."""

    name: str
    file: str
    repeats: tuple[Sequence[float], ...]

    @property
    def means_ms(self) -> list[float]:
        """Mean of each repeat in milliseconds."""
        return [float(np.mean(samples)) / 1e3 for samples in self.repeats]

    @property
    def latency_ms(self) -> float:
        """Mean of the repeats' means in milliseconds, without the slowest and the fastest tenth of them.

        At least one is left out on either side: of three repeats, this is the median.
        """
        means = sorted(self.means_ms)
        cut = min(_tenth(len(means)) or 1, (len(means) - 1) // 2)
        return float(np.mean(means[cut : len(means) - cut]))

    @property
    def spread(self) -> float:
        """Distance between the slowest and the fastest repeat, as a share of the latency."""
        return (max(self.means_ms) - min(self.means_ms)) / self.latency_ms

    @property
    def doubt(self) -> float:
        """Standard error of the latency, as a share of it; 0 for one repeat, which tells of no error."""
        return _standard_error(np.array(self.means_ms) / self.latency_ms)

    @property
    def unstable(self) -> bool:
        """Whether the repeats disagree too much to be trusted."""
        return self.doubt > STEADY

    @property
    def p90_ms(self) -> float | None:
        """Ninetieth percentile of all runs in milliseconds; None where the device does not tell single runs."""
        if any(isinstance(repeat, Times) and repeat.statistics for repeat in self.repeats):
            return None
        return float(np.percentile([sample for repeat in self.repeats for sample in repeat], 90)) / 1e3

    def record(self) -> BenchmarkedModel:
        """Return what benchmark.json keeps."""
        return BenchmarkedModel(
            name=self.name,
            file=self.file,
            latency_ms=self.latency_ms,
            spread=self.spread,
            doubt=self.doubt,
            unstable=self.unstable,
            repeats=[_repeat_record(repeat) for repeat in self.repeats],
        )


def share_used(budget: Budget, timing: Timing, original: Timing) -> float:
    """Return the share of a latency budget that a network uses."""
    return timing.latency_ms / budget.allowed(original.latency_ms)


def share_doubt(budget: Budget, timing: Timing, original: Timing) -> float:
    """Return the standard error of the share of a latency budget that a network uses, as a share of it.

    The original was timed in turns with it: what slows the machine for a while hits both and leaves their ratio alone.
    """
    ours, theirs = (np.array(each.means_ms) / each.latency_ms for each in (timing, original))
    return _standard_error(ours if budget.ratio is None else ours - theirs)


def is_undecided(budget: Budget, timing: Timing, original: Timing) -> bool:
    """Tell whether a measurement leaves open if a latency budget is kept; see `share_doubt`."""
    return abs(share_used(budget, timing, original) - 1) < SURE * share_doubt(budget, timing, original)


def _standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean without the outermost tenths (Tukey and McLaughlin 1963).

    Each outermost tenth counts as its next neighbour. Few values tell of too small an error, by about n to n + 1.
    """
    n, cut = len(values), _tenth(len(values))
    if n < 2:
        return 0.0
    low, *_, high = np.sort(values)[cut : n - cut]
    deviation = float(np.clip(values, low, high).std(ddof=1))
    return deviation / ((1 - 2 * cut / n) * math.sqrt(n)) * (n + 1) / n


def _tenth(n: int) -> int:
    return n // 10


def _repeat_record(repeat: Sequence[float]) -> Repeat:
    statistics = repeat.statistics if isinstance(repeat, Times) else {}
    samples = list(repeat)
    return Repeat(samples_us=samples, statistics=statistics) if statistics else Repeat(samples_us=samples)
