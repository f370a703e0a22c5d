"""Which networks to run so that the table can answer for every policy, and when enough of them were run.

Operators are timed inside running networks, because a layer alone has warmer caches than one among others.
Every network drawn here gives one measurement of each of its operators at random channels, so a few dozen
networks cover the surface of every family at once; docs/latency-tables.md has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amc_hw.devices.effort import Effort
from amc_hw.latency.operators import Operator
from amc_hw.latency.table import LatencyTable

SLOW_MS = 10.0


def runs_of_visit(latency_ms: float) -> int:
    """Return how often a whole network runs under the clock each time it is its turn: for about 15 ms.

    A machine that others use, too, is slow for a second or so now and then. Many short visits spread over the
    time of the measurement see it at its usual speed; few long ones do not (docs/latency-tables.md).
    """
    return round(min(1000.0, max(3.0, 15.0 / latency_ms)))


def rounds_of_visits(effort: Effort, latency_ms: float) -> int:
    """Return how often every whole network has its turn; a slow one half as often: a visit to it is a longer one."""
    return effort.visits if latency_ms <= SLOW_MS else max(1, effort.visits // 2)


def families_to_measure(table: LatencyTable, operators: Sequence[Operator], effort: Effort) -> set[str]:
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
