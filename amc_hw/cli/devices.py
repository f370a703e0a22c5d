"""The commands that measure: what can be measured, its latency table, files timed on it."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amc_hw.cli.options import (
    DEFAULTS,
    Classes,
    DeviceName,
    InChannels,
    Json,
    Model,
    OwnImageSize,
    PrecisionName,
    Seed,
    TableFile,
    TaskName,
    with_options,
)
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.policy import as_precision
from amc_hw.profiling.protocol import Protocol

if TYPE_CHECKING:
    from amc_hw.devices.registry import Found
    from amc_hw.profiling.timing import Timing
    from amc_hw.runs.values import Facts

LISTED_REPEATS = 6


def devices(
    clean: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="remove everything that amc-hw ever put on a phone: android, pixel1 ..."),
    ] = None,
    json: Json = False,
) -> None:
    """List what can be measured here, and what is missing for the rest."""
    from amc_hw.devices.registry import clean_device, found_devices

    if clean is not None:
        clean_device(clean)
        if json:
            print_json({"cleaned": clean})
        else:
            say(f"{clean}: nothing of amc-hw is left there")
        return
    found = found_devices()
    if json:
        print_json([_listed(device) for device in (*found, *_out_of_reach({device.name for device in found}))])
        return
    rows = [(d.name, d.description, f"missing: {with_options(d.missing)}" if d.missing else "ready") for d in found]
    print_table("", ("device", "what it is", "state"), rows)


def _out_of_reach(listed: Collection[str]) -> list[Found]:
    """Return the devices that are known by a shipped table alone."""
    from amc_hw.devices.registry import Found
    from amc_hw.devices.table_only import TableOnly
    from amc_hw.latency.shipped_tables import shipped_tables

    known = [TableOnly(name, path) for name, path in shipped_tables().items() if name not in listed]
    missing = "it is known by its table alone; connect it to measure"
    return [
        Found(
            device.name,
            device.fingerprint().device,
            missing,
            "table",
            (device.format,),
            (device.precision,),
            threads=device.fingerprint().threads,
        )
        for device in known
    ]


def _listed(device: Found) -> Facts:
    """Return what a script needs to choose a device."""
    from amc_hw.devices.registry import choices_of
    from amc_hw.latency.shipped_tables import shipped_table
    from amc_hw.profiling.kept_tables import kept_tables

    shipped, kept = shipped_table(device.name), kept_tables(device.name)
    return {
        **asdict(device),
        "choices": choices_of(device),
        "in_reach": device.in_reach,
        "has_table": bool(kept or shipped),
        "tables": [str(path) for path in kept],
        "shipped_table": None if shipped is None else str(shipped),
    }


def profile(
    model: Model = DEFAULTS["model"],
    device: DeviceName = DEFAULTS["device"],
    table: TableFile = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE|TABLE",
            help="begin with the table of a device that this one resembles, or with a table's file, and measure twelve "
            "networks only: --device host:threads=2 --like host",
        ),
    ] = None,
    image_size: OwnImageSize = None,
    classes: Classes = 1000,
    in_channels: InChannels = 3,
    task: TaskName = DEFAULTS["task"],
    precision: PrecisionName = "fp32",
    seed: Seed = DEFAULTS["seed"],
    json: Json = False,
) -> None:
    """Build or extend the latency table of a device for a network; only what it lacks or a busy machine spoiled."""
    from amc_hw.devices.table_only import require_device
    from amc_hw.latency.trust import of_transfer
    from amc_hw.pipeline.settings import require_network
    from amc_hw.profiling.kept_tables import alike_tables

    require_network(model, task, image_size)
    require_device(device, table, as_precision(precision))
    if like is not None:
        alike_tables(like)
    with progress_bar() as report:
        from amc_hw.pipeline.tables import AskedTable, profile_model

        asked = AskedTable(model, device, table, image_size, classes, as_precision(precision), like, in_channels, task)
        measured, path = profile_model(asked, seed, report)
    errors = {k: e.model_dump() for k, e in measured.errors.items()}
    notes = [*of_transfer(measured), *measured.notes]
    if json:
        print_json({"table": str(path), "entries": len(measured.entries), "errors": errors, "notes": notes})
        return
    answer(f"{path}: {len(measured.entries)} entries of {len(measured.families())} kinds of operators")
    for network in dict.fromkeys((c.structure, c.model) for c in measured.calibration):
        error = measured.errors.get(network[0])
        if error:
            answer(f"{network[1]}: predictions were off by {error.mean:.1%} on average, {error.worst:.1%} at worst")
    for note in notes:
        say(f"note: {note}")


def benchmark(
    files: Annotated[list[Path], typer.Argument(help="exported files; several are timed in turns")],
    device: DeviceName = DEFAULTS["device"],
    warmup: Annotated[int, typer.Option(help="iterations before the clock counts", min=0)] = Protocol.warmup,
    runs: Annotated[int, typer.Option(help="iterations that count", min=1)] = Protocol.runs,
    repeats: Annotated[
        int, typer.Option(help="how often all is repeated; more where these disagree", min=1)
    ] = Protocol.repeats,
    out: Annotated[Path | None, typer.Option(help="file for every sample, as JSON; logs go beside it")] = None,
    json: Json = False,
) -> None:
    """Time exported files on a device: 3 x (100 warm-up + 200 runs), more where these disagree."""
    from amc_hw.devices.registry import format_of, open_device, require_device_name
    from amc_hw.devices.turns import taking_turns
    from amc_hw.profiling.benchmark import benchmark as time_files
    from amc_hw.profiling.benchmark import benchmark_record, write_logs
    from amc_hw.profiling.model_files import require_files, require_format
    from amc_hw.runs.file_names import LOGS
    from amc_hw.runs.files import require_writable
    from amc_hw.runs.record_files import RecordFile
    from amc_hw.runs.records import Benchmark

    protocol = Protocol(warmup, runs, repeats)
    require_device_name(device)
    require_files(files)
    if out is not None:
        require_writable(out)
    for file in files:
        require_format(file, format_of(device), device)
    opened = open_device(device)
    try:
        with progress_bar() as report:
            timings = time_files(opened, {str(file): file for file in files}, protocol, taking_turns(opened, report))
        if out is not None:
            RecordFile(out, Benchmark).write(benchmark_record(opened, protocol, timings))
            write_logs(out.parent / LOGS, timings)
        elif logs := write_logs(Path("benchmark-logs") / time.strftime("%Y-%m-%d_%H-%M-%S"), timings):
            say(f"logs: {logs[0].parent}")
    finally:
        opened.close()
    if json:
        print_json([timing.record().document() for timing in timings.values()])
        return
    print_table(
        "",
        ("file", "ms", "means of the repeats", "p90", "error", "state"),
        [_row(timing) for timing in timings.values()],
    )


def _row(timing: Timing) -> tuple[str, ...]:
    means = " ".join(f"{mean:.3f}" for mean in timing.means_ms)
    if len(timing.means_ms) > LISTED_REPEATS:
        means = f"{len(timing.means_ms)} from {min(timing.means_ms):.3f} to {max(timing.means_ms):.3f}"
    p90 = "" if timing.p90_ms is None else f"{timing.p90_ms:.3f}"
    state = "unstable" if timing.unstable else "steady"
    return timing.name, f"{timing.latency_ms:.3f}", means, p90, f"{timing.doubt:.1%}", state
