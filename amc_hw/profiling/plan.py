"""Which networks to run so that the table can answer for every policy, and when enough of them were run.

Operators are timed inside running networks, because a layer alone has warmer caches than one among others.
Every network drawn here gives one measurement of each of its operators at random channels, so a few dozen
networks cover the surface of every family at once; docs/latency-tables.md has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amc_hw.latency.operators import Operator
from amc_hw.latency.table import LatencyTable

SLOW_MS = 10.0


@dataclass(frozen=True)
class Effort:
    """How much of a device's time its latency table may take; the defaults are for a computer.

    A device on which every network is dear (pushed, and run in a process of its own) asks for fewer and longer ones.

    Attributes:
        networks: networks (times their operators of a family) after which more of them no longer lower the error.
        warmup: runs of each network that do not count.
        runs: runs of each network with the profiler on; the slowest quarter is left out.
        samples: times that the device then tells of each kernel: one for each run, or only their mean.
        calibration: whole networks that are timed by the clock.
        visits: times that every one of them has its turn, at most; see `rounds_of_visits`.
        visit_warmup: runs of each visit that do not count, at least; a quarter of the others where they are many.
        visit_runs: runs that do; 0 for what `runs_of_visit` says.
    """

    networks: int = 64
    warmup: int = 2
    runs: int = 8
    samples: int = 8
    calibration: int = 32
    visits: int = 20
    visit_warmup: int = 2
    visit_runs: int = 0


def runs_of_visit(latency_ms: float) -> int:
    """Return how often a whole network runs under the clock each time it is its turn: for about 15 ms.

    A machine that others use, too, is slow for a second or so now and then. Many short visits spread over the
    time of the measurement see it at its usual speed; few long ones do not (docs/latency-tables.md).
    """
    return round(min(1000.0, max(3.0, 15.0 / latency_ms)))


def rounds_of_visits(effort: Effort, latency_ms: float) -> int:
    """Return how often every whole network has its turn; a slow one half as often: a visit to it is a longer one."""
    return effort.visits if latency_ms <= SLOW_MS else max(1, effort.visits // 2)


def families_to_measure(table: LatencyTable, operators: Sequence[Operator], effort: Effort = Effort()) -> set[str]:
    """Return the families of a network that the table does not know well enough, where a kernel is sure to run."""
    known = table.families()
    samples = {family: sum(entry.count for entry in entries) // effort.samples for family, entries in known.items()}
    return {
        operator.family
        for operator in operators
        if operator.fan_in and samples.get(operator.family, 0) < effort.networks
    }


def draw_policy(choices: Mapping[str, Sequence[int]], random: np.random.Generator) -> dict[str, int]:
    """Draw a network: every group's channels uniformly from its choices."""
    return {group: int(random.choice(np.asarray(counts))) for group, counts in choices.items()}


def corner_policies(choices: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """Return the original network and the smallest one: predictions must not extrapolate beyond either."""
    return [
        {group: counts[-1] for group, counts in choices.items()},
        {group: counts[0] for group, counts in choices.items()},
    ]
