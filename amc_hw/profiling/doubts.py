"""What is doubtful about a run's latency table, one sentence each with its cure, before the run relies on it."""

from __future__ import annotations

import shlex

from amc_hw import __version__
from amc_hw.devices.base import Device
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.prediction import structure_of
from amc_hw.latency.read_table import load_table
from amc_hw.profiling.profile import default_table
from amc_hw.profiling.speed import SPEED_CHANGE
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.speed import Speed
from amc_hw.tracing.traced import TracedModel


def doubts_of_table(
    run: RunFolder,
    device: Device,
    traced: TracedModel,
    template: GraphTemplate,
    *,
    again: RunFolder | None = None,
    in_ms: bool = False,
) -> list[str]:
    """Say why a table may be of other files than the run's, or of another speed than the device has as it begins.

    Nothing is said where the device is known by its table only.

    Args:
        run: the run folder, or that of one of its devices, which has the table.
        device: where the budget must hold.
        traced: the network.
        template: its operators as functions of the channel counts.
        again: the run folder, where the run is for several devices; one for this device alone takes a table of the
            user's own.
        in_ms: the budget is in milliseconds, so that predictions are corrected for the speed.
    """
    if not device.in_reach:
        return []
    table, reasons = load_table(run.table), list[str]()
    if table.version != __version__:
        maker = f"amc-hw {table.version}" if table.version else "an older version of amc-hw"
        reasons.append(f"the latency table was made by {maker} and may be of files that this one writes otherwise")
    structure = structure_of(template.operators(traced.network.original))
    if all(network.structure != structure for network in table.calibration):
        reasons.append("the latency table was measured from other files, none with the operators of this one")
    doubts = [f"{reason}; {_measure_anew(device, run, again)}." for reason in reasons]
    speed = run.speed.find()
    if speed is not None and abs(speed.slower - 1) > SPEED_CHANGE:
        doubts.append(_of_speed(speed, in_ms=in_ms))
    return doubts


def _of_speed(speed: Speed, *, in_ms: bool) -> str:
    """Say that a device's speed is another one than when its table was made, and what is made of that."""
    source = "by the table's prediction" if speed.predicted else "when the table was made"
    meant = (
        f"the budget is to hold at the present speed, so all that the table predicts is taken times {speed.slower:.3g}"
        if in_ms
        else "predicted milliseconds are off by as much, shares of the original's latency are not"
    )
    return (
        f"the original takes {speed.now_ms:.4g} ms now and {speed.table_ms:.4g} ms {source} ({speed.slower - 1:+.1%}): "
        f"{meant}."
    )


def _measure_anew(device: Device, run: RunFolder, again: RunFolder | None) -> str:
    """Return how a user gets a new table for a run; see `doubts_of_table`."""
    how = "to measure anew, end this (Ctrl-C)"
    if again is None:
        return (
            f"{how} and do the same with run={shlex.quote(f'{run}-again')} and table={shlex.quote(f'{run}-again.json')}"
        )
    kept = shlex.quote(str(default_table(device.name, device.fingerprint())))
    return f"{how}, delete {kept}, the table of {device.name}, and do the same with run={shlex.quote(f'{again}-again')}"
