"""The commands that search: for a policy alone, or all the way to a proven file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from amc_hw.cli.options import Compute, Json, Run, all_but, takes_settings, with_options
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.runs.config import Settings

if TYPE_CHECKING:
    from amc_hw.runs.records import ChosenPolicy


@takes_settings(*all_but("rounds", "epochs"))
def search(run: Run, chosen: Settings, compute: Compute = None, json: Json = False) -> None:
    """Search a policy within a budget and verify it on the device; a stopped search goes on where it was."""
    from amc_hw.pipeline.settings import checked_config
    from amc_hw.runs.folder import RunFolder

    config = checked_config(RunFolder(run), compute, **chosen, epochs=0)
    from amc_hw.pipeline.search_and_verify import search_on_device
    from amc_hw.training.compute import find_compute

    place = find_compute(compute)
    with progress_bar() as report:
        policy = search_on_device(run, config, report, place)
    if json:
        print_json(policy.document())
        return
    rows = [
        (
            group.name,
            str(group.original),
            str(group.kept),
            f"{group.kept / group.original:.0%}" if group.kept else "block left out",
        )
        for group in policy.groups
    ]
    print_table("", ("channel group", "original", "kept", "ratio"), rows)
    answer(f"predicted {policy.predicted_ms:.4g} ms, {_measured(policy)}; policy in {RunFolder(run).policy.path}")
    for warning in policy.warnings:
        say(f"warning: {with_options(warning)}")


def _measured(policy: ChosenPolicy) -> str:
    """Return what the device said of a policy, beside what it said of the original."""
    chosen = policy.chosen
    if chosen is None or chosen.measured_ms is None or chosen.original_ms is None:
        return "not measured"
    measured, original = chosen.measured_ms, chosen.original_ms
    return f"measured {measured:.4g} ms where the original takes {original:.4g} ms ({measured / original:.3f}x)"


@takes_settings(*all_but())
def compress(*, run: Run = Path("runs/demo"), chosen: Settings, compute: Compute = None, json: Json = False) -> None:
    """Measure, search, verify, fine-tune, export, benchmark and report; with no options, the demonstration."""
    from amc_hw.pipeline.settings import checked_config
    from amc_hw.runs.folder import RunFolder

    config = checked_config(RunFolder(run), compute, **chosen)
    from amc_hw.pipeline.compress import compress as compress_network
    from amc_hw.report.run import read_run
    from amc_hw.report.table import before_after_rows, io_sentence, precision_rows
    from amc_hw.report.verdict import verdict
    from amc_hw.training.compute import find_compute

    place = find_compute(compute)
    with progress_bar() as report_progress:
        summary = compress_network(run, config, report_progress, place)
    if json:
        print_json(summary.document())
        return
    print_table(
        "",
        ("", "original", "compressed", "change"),
        before_after_rows(summary.original, summary.compressed, summary.metric),
    )
    if precisions := precision_rows(summary):
        print_table("", ("", summary.metric, "latency", "of the original's in fp32", "size"), precisions)
    if sentence := io_sentence(summary):
        answer(sentence)
    if summary.unverified:
        say("warning: the device is not in reach: latencies are predicted by its table, nothing was verified on it.")
    folder = RunFolder(run)
    found = verdict(read_run(folder))
    if found.state == "missed":
        say(f"warning: the budget is missed, {found.sentence} {found.cure}")
    answer(f"report: {folder.report}")
