"""Builds or extends a latency table: runs random networks on a device and reads the time of every kernel."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from amc_hw import __version__
from amc_hw.devices.base import Device, Kernel
from amc_hw.devices.effort import Effort
from amc_hw.devices.turns import measuring
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import structure_of
from amc_hw.latency.read_table import load_table
from amc_hw.latency.table import Entry, LatencyTable
from amc_hw.latency.transfer import forget_transferred, require_transferred_for
from amc_hw.policy import Policy
from amc_hw.profiling.bench import ProfilingBench
from amc_hw.profiling.clock import BUSY, Clock, are_spoiled
from amc_hw.profiling.plan import families_to_measure
from amc_hw.profiling.totals import measure_totals
from amc_hw.runs.files import make_folder, require_writable
from amc_hw.runs.progress import Progress
from amc_hw.tracing.traced import TracedModel

UNSTABLE_SPREAD = 0.10
"""Networks whose 10th to 75th percentile (entries leave out the slowest quarter) spans more than this share of the
median are run again, then marked."""

MOST_NETWORKS = 3
"""Times the planned networks after which a machine that never gets quiet is measured no more."""

SAVE_EVERY_S = 5.0

METHOD = (
    "operators timed inside running networks of random channel counts by the runtime's own profiler; "
    "whole networks timed by the clock tie their sum to reality"
)


def open_table(path: Path, device: Device) -> LatencyTable:
    """Return the table at ``path``, or a new one for ``device`` where there is none.

    Raises:
        TableError: the file is damaged, or holds measurements of another device.
        RunFolderError: it cannot be written.
    """
    fingerprint = device.fingerprint()
    if path.exists():
        table = load_table(path)
        table.require(fingerprint, path)
        return table
    make_folder(path.parent)
    require_writable(path)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return LatencyTable(fingerprint=fingerprint, created=created, method=METHOD, version=__version__)


def measure_table(
    device: Device,
    traced: TracedModel,
    template: GraphTemplate,
    path: Path,
    seed: int,
    progress: Progress,
    *,
    renew: bool = False,
) -> LatencyTable:
    """Measure what the table at ``path`` lacks for a network, and save it there.

    What the table knows already (from an interrupted run, or from another network) is not measured again; nor is what
    another program measures meanwhile, which is waited for.

    Args:
        device: where to measure.
        traced: the network.
        template: its operators as functions of the policy.
        path: the table's file.
        seed: decides which networks are drawn.
        progress: is told how far the work is.
        renew: measure again what a busy machine has spoiled of this network, and measure what was transferred.

    Raises:
        DeviceError: a measurement failed; what was measured before is saved.
        TableError: see `open_table`; or the table was transferred for another network.
    """
    with measuring(device), tempfile.TemporaryDirectory() as folder:
        table = open_table(path, device)
        if table.transfer is not None:
            if not renew:
                require_transferred_for(table, template.operators(traced.network.original), str(path))
                return table
            forget_transferred(table, METHOD, totals=not device.operator_times)
        random = np.random.default_rng([seed, len(table.entries)])
        file = Path(folder) / f"network.{device.format}"
        try:
            bench = ProfilingBench(device, traced, template, file, random)
            if not device.operator_times:
                measure_totals(bench, table, path, progress, renew)
                return table
            if renew:
                _forget_spoiled(table, template.operators(bench.corners[0]))
            clock = Clock(bench, table)
            _measure_operators(bench, table, path, clock, progress)
            clock.finish(progress)
        finally:
            for note in device.notes():  # what a device could not tell of its own state
                table.note(note)
            if table.entries:
                table.save(path)
    return table


def _measure_operators(
    bench: ProfilingBench, table: LatencyTable, path: Path, clock: Clock, progress: Progress
) -> None:
    """Run networks until every family of operators was seen often enough; the clock has its share of the time."""
    corners, effort = bench.corners, bench.effort
    operators = bench.template.operators(corners[0])
    unsteady: list[bool] = []
    saved, done = time.monotonic(), 0
    while done < MOST_NETWORKS * effort.networks and families_to_measure(table, operators, effort):
        policy = corners[done] if done < len(corners) else bench.draw()
        kernels, stable = steady_kernels(bench.device, bench.put(bench.content(policy)), effort)
        table.add(entries_of(bench.template, policy, kernels, stable))
        done += 1
        unsteady.append(not stable)
        clock.keep_up(done / effort.networks)
        progress("measuring operators", done, max(effort.networks, done + 1))
        if time.monotonic() - saved > SAVE_EVERY_S:
            table.save(path)
            saved = time.monotonic()
    if are_spoiled(unsteady):
        table.note(
            f"{sum(unsteady)} of {done} networks stayed unsteady although measured again: {BUSY}",
        )


def _forget_spoiled(table: LatencyTable, operators: Sequence[Operator]) -> None:
    """Take out of a table what was measured of a network while the machine was busy, so that it is measured again."""
    own, structure = {operator.family for operator in operators}, structure_of(operators)
    of_operators = [entry.unstable for entry in table.entries if entry.family in own]
    of_networks = [network.unstable for network in table.calibration if network.structure == structure]
    table.entries = [entry for entry in table.entries if not (entry.unstable and entry.family in own)]
    if are_spoiled(of_operators) or are_spoiled(of_networks):
        table.calibration = [network for network in table.calibration if network.structure != structure]
    if not any(entry.unstable for entry in table.entries) and not any(
        network.unstable for network in table.calibration
    ):
        table.notes = [note for note in table.notes if not note.endswith(BUSY)]


def steady_kernels(device: Device, file: Path, effort: Effort) -> tuple[list[Kernel], bool]:
    """Time the kernels of a file; once more where the runs spread too far. Tells whether they are steady."""
    kernels: list[Kernel] = []
    spread = np.inf
    for _ in range(2):
        again = device.time_kernels(file, warmup=effort.warmup, runs=effort.runs)
        whole_runs = np.sum([kernel.samples_us for kernel in again], axis=0)
        low, middle, high = np.percentile(whole_runs, (10, 50, 75))
        spread_again = (high - low) / middle if middle else 0.0  # shorter than the device's clock can tell
        if spread_again < spread:
            kernels, spread = again, spread_again
        if spread <= UNSTABLE_SPREAD:
            return kernels, True
    return kernels, False


def entries_of(template: GraphTemplate, policy: Policy, kernels: Sequence[Kernel], stable: bool = True) -> list[Entry]:
    """Turn the kernels of one network into entries; an operator's kernels are added up run by run.

    What a runtime does within the kernels of others takes no time of its own.
    """
    operators = template.operators(policy)
    samples: dict[int, np.ndarray] = {}
    for kernel, owner in zip(kernels, template.graph.owners([kernel.name for kernel in kernels]), strict=True):
        if owner is not None:
            own = np.asarray(kernel.samples_us, float)
            samples[owner] = samples[owner] + own if owner in samples else own
    if template.graph.MAY_FUSE and samples:
        none = np.zeros_like(next(iter(samples.values())))
        samples = {index: samples.get(index, none) for index in range(len(operators))}
    table: dict[tuple[str, int, int], Entry] = {}
    for index, values in samples.items():
        operator = operators[index]
        entry = Entry.of(operator.family, operator.c_in, operator.c_out, values, not stable)
        table[entry.key] = table[entry.key].joined(entry) if entry.key in table else entry
    return list(table.values())
