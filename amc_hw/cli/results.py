"""The commands that show what a run came to: its files, their accuracy, its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amc_hw.cli.options import DataRoot, Json, Run
from amc_hw.cli.terminal import answer, of_part, print_json, progress_bar, say_what_stays
from amc_hw.errors import UsageError
from amc_hw.runs.begun import read_config
from amc_hw.runs.files import require_room, require_writable
from amc_hw.runs.names import EXPORTS, listed, require_export_name


def export(
    run: Run,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{listed(EXPORTS)}; aten is for --device cuda; by default tflite, and of a run for several devices "
            "the file of each",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run's network as a file for devices; of a run for several devices, the file of each."""
    if format is not None:
        require_export_name(format)
    others = read_config(run).others
    require_room(run)
    from amc_hw.pipeline.begin import open_trained
    from amc_hw.pipeline.export_run import export_for_devices
    from amc_hw.pipeline.finish import batch_of
    from amc_hw.pipeline.finish import export as export_network
    from amc_hw.runs.folder import RunFolder

    config, trained = open_trained(run)
    folder = RunFolder(run)
    if others and format is None:
        files = export_for_devices(folder, config, trained)
    else:
        files = {config.device: export_network(folder, trained, format or "tflite", batch_of(folder))}
    written = [{"device": name, "file": str(path), "bytes": path.stat().st_size} for name, path in files.items()]
    if json:
        first = {key: written[0][key] for key in ("file", "bytes")}
        print_json({**first, "devices": written} if len(written) > 1 else first)
    else:
        for path in files.values():
            answer(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    if others and format is not None:
        say_what_stays(run)


def evaluate(
    file: Annotated[Path | None, typer.Argument(help="a .tflite, .onnx or .pte file")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="or a run folder")] = None,
    data: Annotated[str | None, typer.Option(help="data set; by default the run's")] = None,
    data_root: DataRoot = None,
    json: Json = False,
) -> None:
    """Print the top-1 accuracy (or the task's metric) on the test set of an exported file or of a run's network."""
    from amc_hw.pipeline.settings import check_evaluation

    check_evaluation(file, run, data, data_root)
    with progress_bar() as report:
        from amc_hw.pipeline.evaluate import evaluate_on_test

        name, metric, accuracy = evaluate_on_test(file, run, data, data_root, report)
    if json:
        print_json({"evaluated": name, "accuracy": accuracy, "metric": metric})
    else:
        answer(f"{name}: {accuracy:.2%} {of_part(metric)} the test set")


def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="run folders to hold against each other")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the one run folder to draw")] = None,
    out: Annotated[Path, typer.Option(help="file for the comparison of several runs")] = Path("compare.html"),
    json: Json = False,
) -> None:
    """Draw report.html from what a run folder holds, or one page that compares several runs."""
    from amc_hw.report.compare import compare_report
    from amc_hw.report.html import write_report

    folders = list(dict.fromkeys([*([run] if run else []), *(runs or [])]))
    if not folders:
        raise UsageError("name a run folder, or several to compare: amc-hw report --run DIR, amc-hw report DIR DIR")
    if len(folders) > 1:
        require_writable(out)
    path = write_report(folders[0]) if len(folders) == 1 else compare_report(folders, out)
    if json:
        print_json({"report": str(path)})
    else:
        answer(str(path))
