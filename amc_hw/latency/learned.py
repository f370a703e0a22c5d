"""Puts what whole networks tell into a latency table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from amc_hw.latency.prediction import Predictor
from amc_hw.latency.share import Totals, WholeNetwork
from amc_hw.latency.shares import Key, Total, learn
from amc_hw.latency.table import LEARNED, CalibrationNetwork, Entry, LatencyTable

LEAST_US = 1e-6
"""What costs less is fused into others, and has no entry."""

METHOD = (
    "learned from totals: the runtime tells the time of whole networks alone, and each operator's share of it was "
    "found by non-negative least squares and a Gaussian process over networks of chosen and of random channel counts"
)


def learn_table(table: LatencyTable, totals: Totals) -> None:
    """Put whole networks into a table, with the shares, entries and errors that they tell."""
    learned = learn([Total(each.structure, totals.operators(each), 1e3 * each.measured_ms) for each in totals.networks])
    table.totals = totals.model_copy(update={"shares": learned.shares, "deviations": learned.deviations})
    table.format, table.method, table.errors = LEARNED, METHOD, learned.errors
    seen = Counter(key for network in totals.networks for key in set(totals.operators(network)))
    us = _shares_us(Predictor(table), list(seen))
    table.entries = [
        Entry(family=f, c_in=c_in, c_out=c_out, count=seen[key], mean_us=t, median_us=t, p90_us=t, std_us=0.0)
        for key, t in us.items()
        for f, c_in, c_out in [key]
        if t > LEAST_US
    ]
    table.calibration = [
        calibration_of(network, max(LEAST_US, sum(us[key] for key in totals.operators(network)) / 1e3))
        for network in totals.networks
    ]


def calibration_of(network: WholeNetwork, operators_ms: float) -> CalibrationNetwork:
    """Return a network that was timed as a whole, beside the sum of its operators, as tables tie the two together."""
    return CalibrationNetwork(
        structure=network.structure,
        model=network.model,
        operators_ms=operators_ms,
        measured_ms=network.measured_ms,
        original=network.original,
        unstable=network.unstable,
    )


def _shares_us(predictor: Predictor, keys: Sequence[Key]) -> dict[Key, float]:
    found = {}
    for key in keys:
        surface = predictor.surface(key[0])
        if surface is not None:
            found[key] = float(surface.predict_us(np.array([float(key[1])]), np.array([float(key[2])]))[0])
    return found
