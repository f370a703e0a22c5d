"""Several budgets and seeds, one run each, in one folder: what accuracy costs in latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from amc_hw.compute import CPU
from amc_hw.config import RunConfig, read_config
from amc_hw.errors import AmcHwError, UsageError
from amc_hw.pipeline import compress
from amc_hw.report.compare import compare_report, pareto_front
from amc_hw.run_folder import make_folder, read_json
from amc_hw.stages.finish import SUMMARY

Progress = Callable[[int, int, str], None]

FRONT = "front.html"


@dataclass(frozen=True)
class Swept:
    """One run of a sweep.

    Attributes:
        run: its folder.
        budget: as it was asked for.
        seed: of the run.
        summary: what summary.json holds; None where the run failed.
        error: why it failed.
        on_front: whether no other run is as accurate for less latency.
    """

    run: Path
    budget: str
    seed: int
    summary: dict[str, Any] | None
    error: str
    on_front: bool = False


def sweep(
    folder: Path,
    base: RunConfig,
    budgets: Sequence[str],
    seeds: int,
    progress: Progress,
    compute: torch.device = CPU,
) -> list[Swept]:
    """Compress once for every budget and seed, and draw the Pareto front of the runs that ended well.

    Finished runs are not repeated, a stopped one goes on where it was. A run that fails is named in the
    result, and the others go on.

    Args:
        folder: holds a run folder for each budget and seed, and ``front.html``.
        base: the settings that all share; its budget and seed are replaced.
        budgets: of its metric.
        seeds: how many seeds, from the base's on.
        progress: called with (done, total, text).
        compute: where to train, prune and score.

    Raises:
        UsageError: no budgets, or one of them twice.
    """
    if not budgets or len(set(budgets)) != len(budgets):
        raise UsageError("name different budgets with commas between them, for example --latency 0.3x,0.5x,0.7x.")
    make_folder(folder)
    rows = []
    pairs = [(budget, base.seed + number) for budget in budgets for number in range(seeds)]
    for number, (budget, seed) in enumerate(pairs):
        config = base.model_copy(update={"budget": budget, "seed": seed})
        run = folder / f"{budget.strip()}-seed{seed}"

        def report(done: int, total: int, text: str, name: str = f"run {number + 1} of {len(pairs)}") -> None:
            progress(done, total, f"{name}: {text}")

        try:
            summary = read_json(run / SUMMARY) if is_finished(run, config) else compress(run, config, report, compute)
            rows.append(Swept(run, budget, seed, summary, ""))
        except AmcHwError as error:
            rows.append(Swept(run, budget, seed, None, str(error)))
    done = [row.run for row in rows if row.summary is not None]
    if done:
        compare_report(done, folder / FRONT)
    return _with_front(rows)


def is_finished(run: Path, config: RunConfig) -> bool:
    """Tell whether a run has ended with these settings."""
    if not (run / SUMMARY).exists():
        return False
    ignored = {"command", "versions"}
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
    compressed = row.summary["compressed"]
    return compressed["latency_ms"] or compressed["predicted_ms"], compressed["accuracy"]
