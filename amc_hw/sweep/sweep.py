"""Several budgets and seeds, one run each, in one folder: what accuracy costs in latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from amc_hw.errors import AmcHwError
from amc_hw.pipeline.compress import compress
from amc_hw.pipeline.family import Family
from amc_hw.report.compare import compare_report, pareto_front
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import RunConfig
from amc_hw.runs.file_names import FRONT
from amc_hw.runs.files import make_folder
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.summaries import Summary
from amc_hw.sweep.jobs import run_all
from amc_hw.sweep.plan import relatives
from amc_hw.sweep.ray_cluster import Cluster, run_on_ray
from amc_hw.training.compute import CPU


@dataclass(frozen=True)
class Swept:
    """One run of a sweep.

    Attributes:
        run: its folder.
        budget: as it was asked for.
        seed: of the run.
        summary: what it came to; None where it failed.
        error: why it failed.
        on_front: whether no other run is as accurate for less latency.
    """

    run: Path
    budget: str
    seed: int
    summary: Summary | None
    error: str
    on_front: bool = False


def sweep(
    folder: Path,
    plan: Mapping[Path, RunConfig],
    progress: Progress,
    compute: torch.device = CPU,
    jobs: int = 1,
    cluster: Cluster | None = None,
) -> list[Swept]:
    """Compress once for every budget and seed of a plan, and draw the Pareto front of the runs that ended well.

    Finished runs are not repeated, a stopped one goes on where it was. A run begins with what those of its seed that
    have begun before it know (`amc_hw.pipeline.family`). A run that fails is named in the result, and the others go on.

    Args:
        folder: gets ``front.html``.
        plan: run folders below it and their settings; see `amc_hw.sweep.plan.plan_sweep`.
        progress: is told how far the work is.
        compute: where to train, prune and score.
        jobs: runs at a time; with more than one, each has a process of its own and shows its progress in its folder.
        cluster: a Ray cluster that the runs are sent to; ``jobs`` is then how many each node has at a time, and
            where to compute is the cluster's.

    Raises:
        UsageError: see `amc_hw.sweep.ray_cluster.run_on_ray`.
        DeviceError: the cluster does not answer.
    """
    make_folder(folder)
    todo = {run: config for run, config in plan.items() if not is_finished(run, config)}
    if cluster is not None:
        errors = run_on_ray(folder, todo, cluster, jobs, progress, is_finished, relatives(plan))
    elif jobs == 1:
        errors = _one_by_one(plan, todo, progress, compute)
    else:
        errors = run_all(todo, jobs, str(compute), progress, relatives(plan))
    rows = [
        Swept(run, config.budget, config.seed, None, errors[run])
        if run in errors
        else Swept(run, config.budget, config.seed, RunFolder(run).summary.read(), "")
        for run, config in plan.items()
    ]
    done = [row.run for row in rows if row.summary is not None]
    if done:
        compare_report(done, folder / FRONT)
    return _with_front(rows)


def _one_by_one(
    plan: Mapping[Path, RunConfig], todo: Mapping[Path, RunConfig], progress: Progress, compute: torch.device
) -> dict[Path, str]:
    """Run what is to be done in this process; return why runs failed."""
    errors, others = {}, relatives(plan)
    families = {config.seed: Family() for config in plan.values()}
    for number, (run, config) in enumerate(plan.items(), start=1):
        try:
            if run in todo:
                family = families[config.seed]
                family.folders = tuple(others[run])
                compress(run, config, progress.within(f"run {number} of {len(plan)}"), compute, family)
        except AmcHwError as error:
            errors[run] = str(error)
    return errors


def is_finished(run: Path, config: RunConfig) -> bool:
    """Tell whether a run has ended with these settings."""
    if not RunFolder(run).summary.exists():
        return False
    left_open = {"image_size"} if config.image_size is None else set()
    ignored = {"command", "versions", "scored"} | left_open | ({"precision"} if config.precision == "auto" else set())
    return read_config(run).model_dump(exclude=ignored) == config.model_dump(exclude=ignored)


def _with_front(rows: list[Swept]) -> list[Swept]:
    points = {number: _point(row) for number, row in enumerate(rows)}
    front = pareto_front(points)
    return [
        Swept(row.run, row.budget, row.seed, row.summary, row.error, number in front) for number, row in enumerate(rows)
    ]


def _point(row: Swept) -> tuple[float, float] | None:
    """Return measured (or, without the device, predicted) milliseconds and accuracy."""
    if row.summary is None:
        return None
    compressed = row.summary.compressed
    latency = compressed.latency_ms or compressed.predicted_ms
    return None if latency is None or compressed.accuracy is None else (latency, compressed.accuracy)
