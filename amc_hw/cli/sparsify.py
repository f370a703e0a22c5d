"""The command that sets single weights to zero."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from amc_hw.cli.options import (
    Checkpoint,
    Compute,
    DataName,
    DataRoot,
    Episodes,
    Epochs,
    ImageSize,
    Json,
    Model,
    Rounds,
    Run,
    Seed,
    Strategy,
    absolute,
)
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.runs.config import DEMO_DATA, DEMO_MODEL


def sparsify(
    run: Run,
    size: Annotated[str, typer.Option(help="budget of the weights that are not zero: 0.2x, or 500kB")] = "0.3x",
    rounds: Rounds = None,
    model: Model = DEMO_MODEL,
    checkpoint: Checkpoint = None,
    data: DataName = DEMO_DATA,
    data_root: DataRoot = None,
    image_size: ImageSize = None,
    strategy: Strategy = "auto",
    episodes: Episodes = 100,
    epochs: Epochs = 10,
    compute: Compute = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Set weights to zero until the others fit a size, and fine-tune (AMC's fine-grained pruning); not for latency."""
    from amc_hw.pipeline.sparsify import sparsify as sparsify_network
    from amc_hw.runs.config import make_config
    from amc_hw.training.compute import find_compute

    config = make_config(
        model=model,
        checkpoint=absolute(checkpoint),
        data=data,
        data_root=absolute(data_root),
        image_size=image_size,
        metric="size_bytes",
        budget=size,
        rounds=rounds.split(",") if rounds else (),
        granularity="weights",
        strategy=strategy,
        episodes=episodes,
        epochs=epochs,
        seed=seed,
        command=shlex.join(["amc-hw", *sys.argv[1:]]),
    )
    place = find_compute(compute)
    with progress_bar() as report:
        summary = sparsify_network(run, config, report, place)
    if json:
        print_json(summary)
        return
    before, after = summary["original"], summary["compressed"]
    rows = [
        (
            f"Top-1 accuracy ({summary['test_images']} test images)",
            f"{before['accuracy']:.2%}",
            f"{after['accuracy']:.2%}",
        ),
        ("Parameters that are not zero", f"{before['nonzero_params']:,}", f"{after['nonzero_params']:,}"),
        ("Their bytes", f"{before['nonzero_bytes']:,}", f"{after['nonzero_bytes']:,}"),
        ("Bytes of the file", f"{before['size_bytes']:,}", f"{after['size_bytes']:,}"),
        ("Bytes of the file, deflated", f"{before['deflated_bytes']:,}", f"{after['deflated_bytes']:,}"),
    ]
    print_table("", ("", "original", "sparse"), rows)
    for number, each in enumerate(summary["rounds"], start=1):
        found, tuned = each["search_accuracy_before_finetune"], each["search_accuracy"]
        answer(f"round {number}, {each['budget']}: {found:.2%} of the search split, {tuned:.2%} after fine-tuning")
    say(f"note: {summary['note']}")
    answer(f"file: {run / summary['artifacts']['tflite']}")
