"""How fast a device is now, against when its table was made: the original network is timed as it was then."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from amc_hw.devices.base import Device
from amc_hw.devices.turns import measuring
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.read_table import load_table
from amc_hw.latency.table import LatencyTable
from amc_hw.profiling.clock import visit_ms
from amc_hw.profiling.plan import rounds_of_visits
from amc_hw.runs.files import write_bytes
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.speed import Speed
from amc_hw.tracing.traced import TracedModel

LEAST_VISITS = 3
SPEED_CHANGE, TRIES = 0.05, 3
"""A change of the original's time that makes a table doubtful, once it shows in each of so many tries."""


def speed_of(
    run: RunFolder, device: Device, traced: TracedModel, template: GraphTemplate, progress: Progress
) -> Speed | None:
    """Return the speed of a device when a run's search began; measured once, and kept in the run folder.

    Args:
        run: the run folder, which has the table.
        device: where to measure.
        traced: the network.
        template: its operators as functions of the channel counts.
        progress: is told how far the work is.

    Returns:
        None where the device is not in reach.
    """
    if not device.in_reach:
        return None
    if (known := run.speed.find()) is not None:
        return known
    table, operators = load_table(run.table), template.operators(traced.network.original)
    then_ms = measured_then(table, structure_of(operators), traced.name)
    due_ms = then_ms or Predictor(table).network_ms(operators)
    content = template.file(traced.network.original, np.random.default_rng(0))
    now_ms = _time_now(device, content, due_ms, progress)
    run.speed.write(found := Speed(now_ms=now_ms, table_ms=due_ms, predicted=then_ms is None))
    return found


def measured_then(table: LatencyTable, structure: str, model_name: str) -> float | None:
    """Return what the original took when the table was calibrated with it, None where it was not."""
    for network in table.calibration:
        if network.original and (network.structure, network.model) == (structure, model_name):
            return network.measured_ms
    return None


def _time_now(device: Device, content: bytes, due_ms: float, progress: Progress) -> float:
    """Return the median of visits to a network; of several tries the one nearest to what is due.

    A machine that is slow for a second is looked at again; one that has changed stays changed.
    """
    found: list[float] = []
    with measuring(device), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"original.{device.format}"
        write_bytes(file, content)
        for attempt in range(TRIES):
            progress("timing the original beside the table's measurement of it", attempt, TRIES)
            rounds = max(LEAST_VISITS, rounds_of_visits(device.effort, due_ms))
            found.append(float(np.median([visit_ms(device, file, due_ms) for _ in range(rounds)])))
            if abs(found[-1] / due_ms - 1) <= SPEED_CHANGE:
                break
    return min(found, key=lambda ms: abs(ms - due_ms))
