"""The commands that search: for a policy alone, or all the way to a proven file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amc_hw.cli.options import (
    AccuracyFloor,
    AgentRun,
    Checkpoint,
    Compute,
    DataName,
    DataRoot,
    DeviceName,
    Episodes,
    Epochs,
    Exclude,
    ImageSize,
    Importance,
    Include,
    Json,
    KeepBlocks,
    Latency,
    Macs,
    Model,
    Params,
    Reward,
    Rounds,
    Run,
    Seed,
    Size,
    Strategy,
    TableFile,
    absolute,
)
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.runs.config import DEMO_DATA, DEMO_MODEL


def search(
    run: Run,
    model: Model = DEMO_MODEL,
    checkpoint: Checkpoint = None,
    data: DataName = DEMO_DATA,
    data_root: DataRoot = None,
    image_size: ImageSize = None,
    device: DeviceName = "host",
    table: TableFile = None,
    latency: Latency = None,
    macs: Macs = None,
    params: Params = None,
    size: Size = None,
    keep_blocks: KeepBlocks = False,
    exclude: Exclude = None,
    include: Include = None,
    importance: Importance = "reconstruction",
    reward: Reward = "resource",
    accuracy_floor: AccuracyFloor = None,
    strategy: Strategy = "auto",
    agent: AgentRun = None,
    episodes: Episodes = 100,
    compute: Compute = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Search a policy within a budget and verify it on the device; a stopped search goes on where it was."""
    from amc_hw.pipeline.compress import search_on_device
    from amc_hw.training.compute import find_compute

    config, place = _config(locals(), epochs=0), find_compute(compute)
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


def compress(
    run: Run = Path("runs/demo"),
    model: Model = DEMO_MODEL,
    checkpoint: Checkpoint = None,
    data: DataName = DEMO_DATA,
    data_root: DataRoot = None,
    image_size: ImageSize = None,
    device: DeviceName = "host",
    table: TableFile = None,
    latency: Latency = None,
    macs: Macs = None,
    params: Params = None,
    size: Size = None,
    rounds: Rounds = None,
    keep_blocks: KeepBlocks = False,
    exclude: Exclude = None,
    include: Include = None,
    importance: Importance = "reconstruction",
    reward: Reward = "resource",
    accuracy_floor: AccuracyFloor = None,
    strategy: Strategy = "auto",
    agent: AgentRun = None,
    episodes: Episodes = 100,
    epochs: Epochs = 10,
    compute: Compute = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure, search, verify, fine-tune, export, benchmark and report; with no options, the demonstration."""
    from amc_hw.pipeline.compress import compress as compress_network
    from amc_hw.report.record import read_run
    from amc_hw.report.table import before_after_rows
    from amc_hw.report.verdict import verdict
    from amc_hw.training.compute import find_compute

    config, place = _config(locals(), epochs=epochs), find_compute(compute)
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


def _config(options: dict[str, Any], epochs: int) -> Any:
    """Turn a command's options into the settings of a run."""
    from amc_hw.runs.config import make_config

    metrics = {"latency_ms": "latency", "macs": "macs", "params": "params", "size_bytes": "size"}
    given = {metric: options[name] for metric, name in metrics.items() if options[name] is not None}
    metric, budget = next(iter(given.items()), ("latency_ms", "0.5x"))
    names = ("model", "data", "image_size", "device", "keep_blocks", "importance", "reward", "accuracy_floor")
    return make_config(
        **{name: options[name] for name in (*names, "strategy", "episodes", "seed")},
        **{name: absolute(options[name]) for name in ("checkpoint", "data_root", "table", "agent")},
        **{name: options[name] or () for name in ("exclude", "include")},
        metric=metric,
        budget=budget,
        rounds=options["rounds"].split(",") if options.get("rounds") else (),
        limits={other: text for other, text in given.items() if other != metric},
        epochs=epochs,
        command=shlex.join(["amc-hw", *sys.argv[1:]]),
    )
