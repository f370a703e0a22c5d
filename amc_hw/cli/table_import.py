"""The command that makes a latency table from logs; what a table is written to, and how far its predictions are off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amc_hw.cli.options import Json
from amc_hw.cli.terminal import answer, print_json, say

if TYPE_CHECKING:
    from amc_hw.latency.table import LatencyTable

Out = Annotated[Path, typer.Option(help="file for the table")]


def import_(
    logs: Annotated[list[Path], typer.Argument(help="what benchmark_model printed, a file for each run")],
    model: Annotated[str, typer.Option(help="what was run: a .tflite file, or mobilenet_v1 (TensorFlow's)")],
    device_name: Annotated[str, typer.Option(help="model of the phone, board or machine")],
    out: Out,
    channels: Annotated[
        Path | None,
        typer.Option(help="JSON file with the channels of each variant of mobilenet_v1; see lookup_tables/README.md"),
    ] = None,
    profile: Annotated[
        list[Path] | None,
        typer.Option(help="file of --op_profiling_output_file, csv or proto; once for each log, in order"),
    ] = None,
    processor: Annotated[str, typer.Option(help="system on chip or processor")] = "not said",
    system: Annotated[str, typer.Option(help="operating system and version")] = "not said",
    runtime_version: Annotated[
        str, typer.Option(help="TensorFlow Lite's or LiteRT's, or its binary's sha256")
    ] = "not said",
    threads: Annotated[
        int | None,
        typer.Option(help="threads of the runtime; by default what the logs say, or 1", min=1),
    ] = None,
    cores: Annotated[str, typer.Option(help="processor numbers that it was held to")] = "not said",
    delegate: Annotated[str, typer.Option(help="what ran the network; by default what the logs say, or none")] = "",
    dtype: Annotated[
        str,
        typer.Option(
            "--precision",
            "--dtype",
            help="of weights and activations: fp32, fp16, bf16, int8, int8-dynamic, int16x8 or another; by default "
            "what the logs or the file say, or fp32",
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Make a table from logs of benchmark_model with op profiles, and the network that was run."""
    from amc_hw.latency.fingerprint import Fingerprint
    from amc_hw.profiling.model_files import require_files, require_logs

    inputs = [*logs, *(profile or []), *([channels] if channels else [])]
    require_table_or_none(out, inputs)
    require_files([*inputs, *([Path(model)] if model.endswith(".tflite") else [])])
    require_logs(logs)
    from amc_hw.profiling.import_logs import import_logs
    from amc_hw.profiling.logged_files import logged_networks
    from amc_hw.profiling.logged_run import logged_run, logged_runtime

    networks = logged_networks(logs, profile or [], model, channels)
    fingerprint = Fingerprint(
        device=device_name,
        processor=processor,
        system=system,
        runtime=logged_runtime(networks),
        runtime_version=runtime_version,
        cores=cores,
        **asdict(logged_run(networks, threads, delegate or None, dtype or None)),
    )
    table = import_logs(networks, fingerprint, ", ".join(log.name for log in logs))
    table.save(out)
    if json:
        print_json({"table": str(out), "entries": len(table.entries), "left_out": left_out(table)})
    else:
        _print_imported(table, out, len(logs))


def _print_imported(table: LatencyTable, out: Path, logs: int) -> None:
    answer(f"{out}: {len(table.entries)} entries of {len(table.families())} kinds of operators from {logs} logs")
    for note in table.notes[1:]:  # the first one names the logs
        say(f"warning: {note}")
    for name, error in left_out(table).items():
        answer(f"{name}: predicted {error:+.1%} off by the other networks' logs")


def require_table_or_none(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write a table over something else, over what it is made from, or where nothing can be written."""
    from amc_hw.errors import TableError, UsageError
    from amc_hw.latency.read_table import load_table
    from amc_hw.runs.files import require_writable

    if out.resolve() in [file.resolve() for file in inputs]:
        raise UsageError(f"--out {out} is one of the files to read; name another.")
    if out.is_file():
        try:
            load_table(out)
        except TableError as error:
            raise UsageError(f"--out {out} exists and is no latency table to replace ({error})") from error
    require_writable(out)


def left_out(table: LatencyTable) -> dict[str, float]:
    """Return how far networks are predicted off by the measurements of the others, by their names."""
    return {name: error for found in table.errors.values() for name, error in found.left_out.items()}
