"""What a run says of the latency tables that its search judged by, once the chosen policy was measured."""

from __future__ import annotations

from collections.abc import Sequence

from amc_hw.budget.bounds import Limit
from amc_hw.budget.budget import Budget
from amc_hw.latency.outdated import outdated
from amc_hw.latency.read_table import load_table
from amc_hw.latency.table import LatencyTable
from amc_hw.latency.trust import of_totals, of_transfer
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.other_devices import OtherDevice, named
from amc_hw.pipeline.search import Search
from amc_hw.pipeline.unverified import reliance
from amc_hw.profiling.deployed import template_for
from amc_hw.runs.records import Candidate, Elsewhere

FAR_OFF = 0.15
"""Error of the chosen policy's prediction that is no drift of a device's speed any more, but a wrong table."""


def doubts_of_tables(job: Job, search: Search, chosen: Candidate) -> list[str]:
    """Return what to know of the tables of all devices, one sentence each; of several, with the device's name.

    Args:
        job: the run, whose own device was measured.
        search: the finished search.
        chosen: the policy that was measured.
    """
    table = load_table(job.run.table)
    own = _of_measured(table, doubts(search, chosen, table.notes))
    if not job.others:
        return own
    return [*named(job.device.name, own), *doubts_elsewhere(job, search, chosen)]


def doubts_elsewhere(job: Job, search: Search, chosen: Candidate) -> list[str]:
    """Return what to know of further devices' tables; of those that are not measured, all that a reader relies on."""
    found = list[str]()
    for other, limit in zip(job.others, search.elsewhere, strict=True):
        folder, device, budget = other.folder, other.device, other.budget
        if not device.in_reach:
            found += named(device.name, reliance(job.trained, folder, template_for(device, job.trained)))
            continue
        table, told = load_table(folder.table), chosen.elsewhere.get(device.name)
        wrong = [] if told is None else _wrong(budget, _whole_ms(other, search, limit), told, table.notes)
        found += named(device.name, _of_measured(table, wrong))
    return found


def doubts(search: Search, chosen: Candidate, notes: Sequence[str]) -> list[str]:
    """Say that the own latency budget's table was wrong about the chosen policy, and what the table says of itself."""
    budget = search.latency_budget
    if budget is None:
        return []
    whole = search.costs.whole("latency_ms", search.original, budget.of)
    return _wrong(budget, whole, chosen, notes)


def _of_measured(table: LatencyTable, wrong: list[str]) -> list[str]:
    return [*of_totals(table), *of_transfer(table), *(outdated(table.notes) or wrong)]


def _whole_ms(other: OtherDevice, search: Search, limit: Limit) -> float | None:
    """Return what the original takes by a further device's table in fp32, or in what a share is of."""
    if other.budget.ratio is not None:
        return limit.most / other.budget.ratio
    return limit.cost(search.original) if other.device.precision == "fp32" else None


def _wrong(budget: Budget, whole_ms: float | None, chosen: Candidate | Elsewhere, notes: Sequence[str]) -> list[str]:
    """Say that a table was wrong about the chosen policy.

    What slowed or sped up the original as much is no fault of the table: a budget that is a share does not mind it,
    and one in milliseconds was searched for at another speed, which is said.

    Args:
        budget: of the latency there.
        whole_ms: what the original takes by the table, in fp32 or what a share is of; None where that is not known.
        chosen: what was predicted and measured there.
        notes: of the table.
    """
    if chosen.predicted_ms is None or chosen.measured_ms is None or chosen.original_ms is None:
        return []
    change = 1.0 if whole_ms is None else chosen.original_ms / whole_ms
    off = chosen.measured_ms / chosen.predicted_ms
    if abs(off / change - 1) > FAR_OFF:
        return [
            f"the table predicts {chosen.predicted_ms:.4g} ms where the device takes {chosen.measured_ms:.4g} ms, and "
            "the search judged latencies by it; measure into another table when the device is quiet, and search again.",
            *(f"the table says of itself: {note}" for note in notes),
        ]
    if budget.ratio is None and abs(off - 1) > FAR_OFF:
        return [
            f"the device takes {change:.2f} times as long for the original as when the search began, so that a budget "
            "in milliseconds is another one now; search again at the speed at which it is to hold."
        ]
    return []
