"""The commands that search: for a policy alone, or all the way to a proven file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amc_hw.cli.options import Compute, Json, Run, all_but, takes_settings
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.runs.config import Settings, make_config


@takes_settings(*all_but("rounds", "epochs"))
def search(run: Run, chosen: Settings, compute: Compute = None, json: Json = False) -> None:
    """Search a policy within a budget and verify it on the device; a stopped search goes on where it was."""
    from amc_hw.pipeline.settings import check_settings

    config = make_config(**chosen, epochs=0)
    check_settings(run, config, compute)
    from amc_hw.pipeline.compress import search_on_device
    from amc_hw.training.compute import find_compute

    place = find_compute(compute)
    with progress_bar() as report:
        policy = search_on_device(run, config, report, place)
    if json:
        print_json(policy)
        return
    rows = [
        (
            g["name"],
            str(g["original"]),
            str(g["kept"]),
            f"{g['kept'] / g['original']:.0%}" if g["kept"] else "block left out",
        )
        for g in policy["groups"]
    ]
    print_table("", ("channel group", "original", "kept", "ratio"), rows)
    answer(f"predicted {policy['predicted_ms']:.4g} ms, {_measured(policy)}; policy in {run}/policy.json")
    for warning in policy["warnings"]:
        say(f"warning: {warning}")


def _measured(policy: Mapping[str, Any]) -> str:
    """Return what the device said of a policy of policy.json, beside what it said of the original."""
    if policy["unverified"]:
        return "not measured"
    from amc_hw.pipeline.search import chosen_candidate

    chosen = chosen_candidate(policy)
    measured, original = chosen["measured_ms"], chosen["original_ms"]
    return f"measured {measured:.4g} ms where the original takes {original:.4g} ms ({measured / original:.3f}x)"


@takes_settings(*all_but())
def compress(*, run: Run = Path("runs/demo"), chosen: Settings, compute: Compute = None, json: Json = False) -> None:
    """Measure, search, verify, fine-tune, export, benchmark and report; with no options, the demonstration."""
    from amc_hw.pipeline.settings import check_settings

    config = make_config(**chosen)
    check_settings(run, config, compute)
    from amc_hw.pipeline.compress import compress as compress_network
    from amc_hw.report.record import read_run
    from amc_hw.report.table import before_after_rows
    from amc_hw.report.verdict import verdict
    from amc_hw.training.compute import find_compute

    place = find_compute(compute)
    with progress_bar() as report_progress:
        summary = compress_network(run, config, report_progress, place)
    if json:
        print_json(summary)
        return
    print_table("", ("", "original", "compressed", "change"), before_after_rows(summary))
    if summary["unverified"]:
        say("warning: the device is not in reach: latencies are predicted by its table, nothing was verified on it.")
    found = verdict(read_run(run))
    if found.state == "missed":
        say(f"warning: the budget is missed, {found.sentence} {found.cure}")
    answer(f"report: {run / 'report.html'}")
