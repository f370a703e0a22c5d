"""The command that compresses for several budgets and seeds."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from amc_hw.cli.options import (
    Checkpoint,
    Compute,
    DataName,
    DataRoot,
    DeviceName,
    Episodes,
    Epochs,
    Exclude,
    ImageSize,
    Include,
    Json,
    KeepBlocks,
    Model,
    Seed,
    Strategy,
    TableFile,
    absolute,
)
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.runs.config import DEMO_DATA, DEMO_MODEL


def sweep(
    latency: Annotated[str, typer.Option(help="latency budgets with commas between them: 0.3x,0.5x,0.7x")],
    out: Annotated[Path, typer.Option(help="folder for the runs and the plot")] = Path("runs/sweep"),
    seeds: Annotated[int, typer.Option(help="runs for each budget", min=1)] = 1,
    jobs: Annotated[int, typer.Option(help="runs at a time; measurements take turns", min=1)] = 1,
    ray: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="spread the runs over a Ray cluster: HOST:PORT, auto or local; --jobs is then of each node"),
    ] = None,
    model: Model = DEMO_MODEL,
    checkpoint: Checkpoint = None,
    data: DataName = DEMO_DATA,
    data_root: DataRoot = None,
    image_size: ImageSize = None,
    device: DeviceName = "host",
    table: TableFile = None,
    keep_blocks: KeepBlocks = False,
    exclude: Exclude = None,
    include: Include = None,
    strategy: Strategy = "auto",
    episodes: Episodes = 100,
    epochs: Epochs = 10,
    compute: Compute = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compress for several latency budgets and seeds; finished runs are not repeated."""
    from amc_hw.runs.config import make_config
    from amc_hw.sweep.ray_cluster import Cluster
    from amc_hw.sweep.sweep import FRONT
    from amc_hw.sweep.sweep import sweep as run_sweep
    from amc_hw.training.compute import CPU, find_compute

    base = make_config(
        model=model,
        checkpoint=absolute(checkpoint),
        data=data,
        data_root=absolute(data_root),
        image_size=image_size,
        device=device,
        table=absolute(table),
        keep_blocks=keep_blocks,
        exclude=exclude or (),
        include=include or (),
        strategy=strategy,
        episodes=episodes,
        epochs=epochs,
        seed=seed,
        command=shlex.join(["amc-hw", *sys.argv[1:]]),
    )
    place, cluster = (CPU, Cluster(ray, compute)) if ray else (find_compute(compute), None)
    with progress_bar() as report:
        rows = run_sweep(out, base, latency.split(","), seeds, report, place, jobs, cluster)
    failed = [row for row in rows if row.summary is None]
    if json:
        print_json(
            [
                {"run": str(r.run), "budget": r.budget, "seed": r.seed, "on_front": r.on_front, "error": r.error}
                | ({"compressed": r.summary["compressed"]} if r.summary else {})
                for r in rows
            ]
        )
    else:
        table_rows = []
        for row in rows:
            if row.summary is not None:
                compressed = row.summary["compressed"]
                latency_ms = compressed["latency_ms"]
                shown = f"{latency_ms:.3f}" if latency_ms else f"{compressed['predicted_ms']:.3f} (predicted)"
                front = "yes" if row.on_front else ""
                table_rows.append((row.budget, str(row.seed), shown, f"{compressed['accuracy']:.2%}", front))
        if table_rows:
            print_table("", ("budget", "seed", "ms", "accuracy", "on the front"), table_rows)
            answer(f"front: {out / FRONT}")
    for row in failed:
        say(f"error: {row.run}: {row.error}")
    if failed:
        raise typer.Exit(1)
