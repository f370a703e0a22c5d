"""The command that sets single weights to zero."""

from __future__ import annotations

from amc_hw.cli.options import Compute, Json, Run, takes_settings
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.runs.config import Settings


@takes_settings(
    *(
        "size",
        "rounds",
        "model",
        "checkpoint",
        "data",
        "data_root",
        "image_size",
        "strategy",
        "episodes",
        "epochs",
        "seed",
    ),
    size={"default": "0.3x", "help": "budget of the weights that are not zero: 0.2x, or 500kB"},
)
def sparsify(run: Run, chosen: Settings, compute: Compute = None, json: Json = False) -> None:
    """Set weights to zero until the others fit a size, and fine-tune (AMC's fine-grained pruning); not for latency."""
    from amc_hw.pipeline.settings import checked_config
    from amc_hw.runs.folder import RunFolder

    config = checked_config(RunFolder(run), compute, **chosen, granularity="weights")
    with progress_bar() as report:
        from amc_hw.pipeline.sparsify import sparsify as sparsify_network
        from amc_hw.training.compute import find_compute

        summary = sparsify_network(run, config, report, find_compute(compute))
    if json:
        print_json(summary.document())
        return
    before, after = summary.original, summary.compressed
    rows = [
        (
            f"Top-1 accuracy ({summary.test_images} test images)",
            f"{before.accuracy:.2%}",
            f"{after.accuracy:.2%}",
        ),
        ("Parameters that are not zero", f"{before.nonzero_params:,}", f"{after.nonzero_params:,}"),
        ("Their bytes", f"{before.nonzero_bytes:,}", f"{after.nonzero_bytes:,}"),
        ("Bytes of the file", f"{before.size_bytes:,}", f"{after.size_bytes:,}"),
        ("Bytes of the file, deflated", f"{before.deflated_bytes:,}", f"{after.deflated_bytes:,}"),
    ]
    print_table("", ("", "original", "sparse"), rows)
    for number, each in enumerate(summary.rounds, start=1):
        found, tuned = each.search_accuracy_before_finetune, each.search_accuracy
        answer(f"round {number}, {each.budget}: {found:.2%} of the validation split, {tuned:.2%} after fine-tuning")
    say(f"note: {summary.note}")
    answer(f"file: {run / summary.artifacts['tflite']}")
