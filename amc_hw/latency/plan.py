"""Which networks to run so that the table can answer for every policy, and when enough of them were run.

Operators are timed inside running networks, because a layer alone has warmer caches than one among others.
Every network drawn here gives one measurement of each of its operators at random channels, so a few dozen
networks cover the surface of every family at once; docs/latency-tables.md has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amc_hw.latency.operators import Operator
from amc_hw.latency.table import LatencyTable

SAMPLES_PER_FAMILY = 64
"""Networks (times their operators of the family) after which more of them no longer lower the error."""

RUNS = 8
"""Runs of each network with the profiler on; the slowest quarter is left out."""

CALIBRATION_NETWORKS = 12


def families_to_measure(table: LatencyTable, operators: Sequence[Operator]) -> set[str]:
    """Return the families of a network that the table does not know well enough, where a kernel is sure to run."""
    known = table.families()
    samples = {family: sum(entry.count for entry in entries) // RUNS for family, entries in known.items()}
    return {
        operator.family
        for operator in operators
        if operator.fan_in and samples.get(operator.family, 0) < SAMPLES_PER_FAMILY
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
