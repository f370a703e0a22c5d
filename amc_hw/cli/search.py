"""The commands that search: for a policy alone, or all the way to a proven file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from amc_hw.cli.options import SETTINGS, Compute, Json, Run, all_but, takes_settings, with_options
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.errors import BUDGET_MISSED
from amc_hw.runs.config import Settings

if TYPE_CHECKING:
    from amc_hw.runs.records import ChosenPolicy
    from amc_hw.runs.summaries import Summary


_SEVERAL: Mapping[str, Mapping[str, Any]] = {
    "device": {
        "kind": list[str],
        "default": ["host"],
        "help": f"{SETTINGS['device'].description}; repeatable: one network that is fast enough on each",
    },
    "latency": {"help": f"{SETTINGS['latency'].description}; on several devices of each, or pixel1=60ms,host=2ms"},
}


@takes_settings(*all_but("rounds", "epochs"), **_SEVERAL)
def search(run: Run, chosen: Settings, compute: Compute = None, json: Json = False) -> None:
    """Search a policy within a budget and verify it on the device; a stopped search goes on where it was."""
    from amc_hw.pipeline.settings import checked_config
    from amc_hw.runs.folder import RunFolder

    config = checked_config(RunFolder(run), compute, **chosen, epochs=0)
    with progress_bar() as report:
        from amc_hw.pipeline.search_and_verify import search_on_device
        from amc_hw.training.compute import find_compute

        policy = search_on_device(run, config, report, find_compute(compute))
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
    answer(f"{_times(policy)}; policy in {RunFolder(run).policy.path}")
    for sentence in _elsewhere(policy):
        answer(sentence)
    for warning in policy.warnings:
        say(f"warning: {with_options(warning)}")


def _times(policy: ChosenPolicy) -> str:
    """Return what the table and the device said of a policy, beside what the device said of the original."""
    if policy.predicted_ms is None:
        measured = "not measured" if policy.measured_ms is None else f"measured {policy.measured_ms:.4g} ms"
        return f"nothing is pruned, {measured}"
    chosen = policy.chosen
    measured = "not measured" if chosen is None else _measured_times(chosen.measured_ms, chosen.original_ms)
    return f"predicted {policy.predicted_ms:.4g} ms, {measured}"


def _measured_times(measured: float | None, original: float | None) -> str:
    if measured is None or original is None:
        return "not measured"
    return f"measured {measured:.4g} ms where the original takes {original:.4g} ms ({measured / original:.3f}x)"


def _elsewhere(policy: ChosenPolicy) -> list[str]:
    """Return what further devices say of a policy, a sentence each."""
    found = policy.chosen.elsewhere if policy.chosen else {}
    return [
        f"{name}: predicted {each.predicted_ms:.4g} ms, {_measured_times(each.measured_ms, each.original_ms)}"
        for name, each in found.items()
    ]


@takes_settings(*all_but(), **_SEVERAL)
def compress(*, run: Run = Path("runs/demo"), chosen: Settings, compute: Compute = None, json: Json = False) -> None:
    """Measure, search, verify, fine-tune, export, benchmark and report; with no options, the demonstration."""
    from amc_hw.pipeline.settings import checked_config
    from amc_hw.runs.folder import RunFolder

    config = checked_config(RunFolder(run), compute, **chosen)
    with progress_bar() as report_progress:
        from amc_hw.pipeline.compress import compress as compress_network
        from amc_hw.training.compute import find_compute

        summary = compress_network(run, config, report_progress, find_compute(compute))
    from amc_hw.report.run import read_run
    from amc_hw.report.verdict import of_budget

    folder = RunFolder(run)
    found = of_budget(read_run(folder))
    if json:
        print_json(summary.document())
    else:
        _show(summary)
        answer(f"report: {folder.report}")
    if found.state == "held" and not json:
        answer(f"the budget is held: {found.sentence}")
    if found.state == "missed":
        say(f"warning: the budget is missed, {found.sentence} {found.cure}")
        raise typer.Exit(BUDGET_MISSED)


def _show(summary: Summary) -> None:
    """Print what a run came to."""
    from amc_hw.report.smaller import smaller_sentences
    from amc_hw.report.table import (
        DEVICE_COLUMNS,
        before_after_rows,
        device_rows,
        precision_rows,
        smaller_rows,
        use_sentence,
    )

    print_table(
        "",
        ("", "original", "compressed", "change"),
        before_after_rows(summary.original, summary.compressed, summary.metric),
    )
    for files in (precision_rows(summary), smaller_rows(summary)):
        if files:
            print_table("", ("", summary.metric, "latency", "of fp32", "size"), files)
    if devices := device_rows(summary):
        print_table("", DEVICE_COLUMNS, devices)
    if sentence := use_sentence(summary):
        answer(sentence)
    if summary.unverified:
        say("warning: the device is not in reach: latencies are predicted by its table, nothing was verified on it.")
    for device in summary.devices[1:]:
        if device.unverified:
            say(f"warning: {device.name} is known by its table: its latency is predicted, and nothing proves it there.")
    for sentence in smaller_sentences(summary):
        answer(sentence)
