"""The device's latency table for a network: found, extended where it lacks something, and kept with the run."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from amc_hw.budget.cost import Cost
from amc_hw.devices.base import Device
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.outdated import outdated
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.read_table import load_table
from amc_hw.latency.table import LatencyTable
from amc_hw.latency.transfer import require_transferred_for
from amc_hw.profiling.deployed import template_for
from amc_hw.profiling.kept_tables import DIGEST, find_alike, table_stem
from amc_hw.profiling.latency_cost import latency_cost
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.transfer import Known, require_new, transfer_table
from amc_hw.runs.cache import cache_folder
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.tracing.traced import TracedModel

_LOG = logging.getLogger(__name__)


def default_table(device: str, fingerprint: Fingerprint) -> Path:
    """Return where the table of a device is kept for all runs of this user.

    Each fingerprint has a file of its own, so a new runtime or another thread count begins a new table.
    """
    digest = hashlib.sha256(fingerprint.model_dump_json().encode()).hexdigest()[:DIGEST]
    return cache_folder("tables") / f"{table_stem(device)}-{digest}.json"


def require_tables(device: Device, table: Path | None, run: RunFolder | None = None) -> None:
    """Refuse, before any other work, a damaged table or one that was measured on something else.

    Args:
        device: where to measure.
        table: the file that the user named, or None for the device's default one.
        run: a run folder that may have a table of its own.

    Raises:
        TableError: see `load_table`, or a field of the fingerprint differs.
    """
    fingerprint = device.fingerprint()
    if run is not None and run.table.exists():
        load_table(run.table).require(fingerprint, run.table, "go on there, or begin another run= here.")
    elif (path := table or default_table(device.name, fingerprint)).exists():
        load_table(path).require(fingerprint, path)


def profile(
    device: Device,
    traced: TracedModel,
    table: Path | None,
    seed: int,
    progress: Progress,
    *,
    renew: bool = False,
) -> tuple[LatencyTable, Path, GraphTemplate]:
    """Measure what the device's table lacks for a network; with ``renew`` also what a busy machine has spoiled of it.

    Returns:
        The table, its file, and the network's operators as functions of the channel counts.

    Raises:
        DeviceError: nothing can be measured, because the device is known by its table only.
    """
    device.require_reach()
    progress("converting the network")
    template = template_for(device, traced)
    path = table or default_table(device.name, device.fingerprint())
    measured = measure_table(device, traced, template, path, seed, progress, renew=renew)
    return measured, path, template


def require_alike(device: Device, like: str, table: Path | None) -> None:
    """Refuse, before any other work, what `profile_like` cannot begin with, or may not replace."""
    find_alike(like, device.fingerprint())
    require_new(table or default_table(device.name, device.fingerprint()), device)


def profile_like(
    device: Device, traced: TracedModel, like: str, table: Path | None, seed: int, progress: Progress
) -> tuple[LatencyTable, Path]:
    """Carry the table of a device that resembles this one over, by twelve networks; see `transfer_table`.

    Args:
        device: where to measure.
        traced: the network.
        like: the other device's name, or its table's file.
        table: the new table's file, or None for the device's default one.
        seed: decides which networks are measured.
        progress: is told how far the work is.
    """
    device.require_reach()
    known = Known(*find_alike(like, device.fingerprint()))
    progress("converting the network")
    template = template_for(device, traced)
    path = table or default_table(device.name, device.fingerprint())
    return transfer_table(device, traced, template, known, path, seed, progress), path


def run_cost(
    run: RunFolder, device: Device, traced: TracedModel, table: Path | None, seed: int, progress: Progress
) -> tuple[Cost, GraphTemplate, float]:
    """Return the predicted latency of the run's network as a cost.

    The table is copied into the run folder and read from there ever after: a search that goes on must see
    the numbers that it began with.

    Returns:
        The cost in milliseconds, the network's operators, and the table's mean prediction error (a fraction).
    """
    path, known = run.table, device.known_table()
    if path.exists():
        progress("converting the network")
        template, measured = template_for(device, traced), load_table(path)
        measured.require(device.fingerprint(), path)
    elif known is not None:
        progress("converting the network")
        template, measured = template_for(device, traced), known
        require_transferred_for(known, template.operators(traced.network.original), f"the table of '{device.name}'")
        measured.save(path)
    else:
        measured, _, template = profile(device, traced, table, seed, progress)
        measured.save(path)
    for doubt in outdated(measured.notes):
        _LOG.warning("%s", doubt)
    original = {group: counts[-1] for group, counts in traced.choices.items()}
    own = measured.errors.get(structure_of(template.operators(original)))
    # What was never held against the clock is taken to be as far off as the networks that were.
    error = max((known.mean for known in ([own] if own else measured.errors.values())), default=0.0)
    return latency_cost(template, Predictor(measured), traced.choices), template, error
