"""The command that compresses for several budgets and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amc_hw.cli.options import SETTINGS, Compute, Json, all_but, takes_settings, with_options
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.errors import BUDGET_MISSED
from amc_hw.policy import TOP1
from amc_hw.runs.config import METRICS, Settings

if TYPE_CHECKING:
    from amc_hw.report.run import Run as FinishedRun
    from amc_hw.runs.summaries import Summary
    from amc_hw.runs.values import Facts
    from amc_hw.sweep.sweep import Swept

_SEVERAL = {name: {"help": f"{SETTINGS[name].description}; of one metric several: 0.3x,0.5x,0.7x"} for name in METRICS}


@takes_settings(*all_but(), **_SEVERAL)
def sweep(
    chosen: Settings,
    out: Annotated[Path, typer.Option(help="folder for the runs and the plot")] = Path("runs/sweep"),
    seeds: Annotated[int, typer.Option(help="runs for each budget", min=1)] = 1,
    jobs: Annotated[int, typer.Option(help="runs at a time; measurements take turns", min=1)] = 1,
    ray: Annotated[
        str | None,
        typer.Option(help="spread the runs over a Ray cluster: HOST:PORT, auto or local; --jobs is then of each node"),
    ] = None,
    compute: Compute = None,
    json: Json = False,
) -> None:
    """Compress for several budgets and seeds; finished runs are not repeated."""
    from amc_hw.pipeline.settings import check_settings
    from amc_hw.runs.folder import RunFolder
    from amc_hw.sweep.plan import plan_sweep, read_budgets

    plan = plan_sweep(out, *read_budgets(chosen), seeds)
    for run, config in plan.items():
        check_settings(RunFolder(run), config, compute)
    with progress_bar() as report:
        from amc_hw.sweep.ray_cluster import Cluster
        from amc_hw.sweep.sweep import sweep as run_sweep
        from amc_hw.training.compute import CPU, find_compute

        place, cluster = (CPU, Cluster(ray, compute)) if ray else (find_compute(compute), None)
        rows = run_sweep(out, plan, report, place, jobs, cluster)
    from amc_hw.report.run import read_run
    from amc_hw.report.verdict import of_budget
    from amc_hw.runs.file_names import FRONT

    done = [(row, row.summary, read_run(RunFolder(row.run))) for row in rows if row.summary is not None]
    failed = [row for row in rows if row.summary is None]
    if json:
        print_json([_document(row) for row in rows])
    elif done:
        _, summary, _ = done[0]
        scored = "accuracy" if summary.metric == TOP1 else summary.metric
        columns = ("budget", "seed", "precision", "ms", "share", scored, "held", "on the front")
        print_table("", columns, [_cells(*each) for each in done])
        answer(f"front: {out / FRONT}")
    for row in failed:
        say(f"error: {row.run}: {with_options(row.error)}")
    if failed:
        raise typer.Exit(1)
    if any(of_budget(run).state == "missed" for *_, run in done):
        raise typer.Exit(BUDGET_MISSED)


def _document(row: Swept) -> Facts:
    settings: Facts = {"run": str(row.run), "budget": row.budget, "seed": row.seed, "on_front": row.on_front}
    compressed: Facts = {"compressed": row.summary.compressed.document()} if row.summary else {}
    return {**settings, "error": with_options(row.error), **compressed}


def _cells(row: Swept, summary: Summary, run: FinishedRun) -> tuple[str, ...]:
    from amc_hw.report.verdict import verdict

    made, whole = summary.compressed, summary.original.latency_ms
    latency = f"{made.latency_ms:.4g}" if made.latency_ms else f"{made.predicted_ms:.4g} (predicted)"
    share = f"{made.latency_ms / whole:.3f}x" if made.latency_ms and whole else ""
    state = verdict(run).state
    held = {"held": "yes", "missed": "no: run it again", "beaten": f"take {summary.take}"}.get(state, state)
    front = "yes" if row.on_front else ""
    return row.budget, str(row.seed), summary.precision, latency, share, f"{made.accuracy:.2%}", held, front
