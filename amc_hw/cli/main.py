"""The command line: parses, calls, prints, exits. Heavy imports wait until a command needs them."""

from __future__ import annotations

import math
import shlex
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from amc_hw import __version__
from amc_hw.cli.options import (
    DEFAULTS,
    Compute,
    DataName,
    DataRoot,
    DeviceName,
    Epochs,
    ImageSize,
    Json,
    Model,
    Run,
    Seed,
    TableFile,
    example,
    with_options,
)
from amc_hw.cli.search import compress, search
from amc_hw.cli.sparsify import sparsify
from amc_hw.cli.sweep import sweep
from amc_hw.cli.table import app as table_app
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say, say_warnings, watch_for_interrupts
from amc_hw.errors import AmcHwError
from amc_hw.processes import is_first_process, require_one_process
from amc_hw.profiling.protocol import Protocol
from amc_hw.runs.config import read_config
from amc_hw.runs.files import require_room, require_writable
from amc_hw.runs.names import EXPORTS, listed, require_compute_name, require_export_name

LISTED_REPEATS = 6

app = typer.Typer(
    help="Compress a CNN to a latency budget measured on the device it will run on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(table_app, name="table")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of a failure")] = False,
) -> None:
    if version:
        print(__version__)  # noqa: T201
        raise typer.Exit
    if context.invoked_subcommand not in (None, "train", "finetune"):
        require_one_process(context.invoked_subcommand)


@app.command(epilog=example("amc-hw devices"))
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
        print_json([{"name": d.name, "description": d.description, "missing": d.missing} for d in found])
        return
    rows = [(d.name, d.description, f"missing: {with_options(d.missing)}" if d.missing else "ready") for d in found]
    print_table("", ("device", "what it is", "state"), rows)


@app.command(
    epilog=example("amc-hw train --model resnet20 --data cifar10 --epochs 160 --lr 0.1 --batch-size 128 --out r20.pt")
)
def train(
    out: Annotated[Path, typer.Option(help="file for the trained weights")],
    model: Model = DEFAULTS["model"],
    data: DataName = DEFAULTS["data"],
    data_root: DataRoot = None,
    image_size: ImageSize = None,
    epochs: Annotated[int, typer.Option(help="epochs of training", min=1)] = 14,
    lr: Annotated[float, typer.Option(help="highest learning rate")] = 0.05,
    batch_size: Annotated[int, typer.Option(help="images for each step", min=1)] = 32,
    weight_decay: Annotated[float, typer.Option(help="of the weights; biases and batch norms have none", min=0)] = 1e-3,
    compute: Compute = None,
    seed: Seed = DEFAULTS["seed"],
    json: Json = False,
) -> None:
    """Train a baseline and write its checkpoint; an interrupted training goes on where it stopped."""
    _check_training(out, model, data, data_root, lr, weight_decay, compute)
    from amc_hw.models.checkpoint import save_checkpoint
    from amc_hw.pipeline.trained import load_model_and_data, require_classes, say_size
    from amc_hw.training import loop as training
    from amc_hw.training.compute import find_compute
    from amc_hw.training.evaluation import evaluate
    from amc_hw.training.recipe import Recipe

    place = find_compute(compute)
    network, loaded = load_model_and_data(model, data, str(data_root) if data_root else None, seed, image_size)
    require_classes(network, loaded)
    say_size(loaded)
    loaded = loaded.on(place)
    state = out.with_name(out.name + ".state")
    with progress_bar() as report:
        history = training.train(
            network,
            loaded,
            Recipe(epochs, lr, batch_size, weight_decay),
            seed=seed,
            device=place,
            progress=report,
            state_path=state,
        )
    if not is_first_process():
        return
    save_checkpoint(network, out)
    state.unlink(missing_ok=True)
    accuracy = evaluate(network, loaded.test, device=place)
    if json:
        print_json({"checkpoint": str(out), "search_accuracy": history.kept_accuracy, "test_accuracy": accuracy})
    else:
        answer(f"{out}: {accuracy:.2%} of the test set ({history.kept_accuracy:.2%} of the search split)")


def _check_training(
    out: Path, model: str, data: str, data_root: Path | None, lr: float, weight_decay: float, compute: str | None
) -> None:
    """Refuse what cannot be trained, before anything heavy is loaded."""
    from amc_hw.data.names import require_data
    from amc_hw.errors import UsageError
    from amc_hw.models.names import require_model_name
    from amc_hw.runs.names import require_compute_name

    require_compute_name(compute)
    require_model_name(model)
    require_data(data, data_root)
    if not (0 < lr < math.inf and weight_decay < math.inf):
        raise UsageError("--lr takes a number over 0 and --weight-decay one from 0 on.")
    if is_first_process():
        require_writable(out)


@app.command(epilog=example("amc-hw profile --device host --model torchvision:mobilenet_v2"))
def profile(
    model: Model = DEFAULTS["model"],
    device: DeviceName = DEFAULTS["device"],
    table: TableFile = None,
    image_size: Annotated[
        int | None, typer.Option(help="side of the images in pixels, by default the model's own", min=8)
    ] = None,
    classes: Annotated[int, typer.Option(help="classes that the network tells apart", min=2)] = 1000,
    seed: Seed = DEFAULTS["seed"],
    json: Json = False,
) -> None:
    """Build or extend the latency table of a device for a network; only what it lacks or a busy machine spoiled."""
    from amc_hw.devices.table_only import require_device
    from amc_hw.models.names import require_model_name

    require_model_name(model)
    require_device(device, table)
    from amc_hw.pipeline.tables import profile_model

    with progress_bar() as report:
        measured, path = profile_model(model, device, table, image_size, classes, seed, report)
    errors = {k: e.model_dump() for k, e in measured.errors.items()}
    if json:
        print_json({"table": str(path), "entries": len(measured.entries), "errors": errors, "notes": measured.notes})
        return
    answer(f"{path}: {len(measured.entries)} entries of {len(measured.families())} kinds of operators")
    for network in dict.fromkeys((c.structure, c.model) for c in measured.calibration):
        error = measured.errors.get(network[0])
        if error:
            answer(f"{network[1]}: predictions were off by {error.mean:.1%} on average, {error.worst:.1%} at worst")
    for note in measured.notes:
        say(f"note: {note}")


_SEARCH = example("amc-hw search --model resnet20 --checkpoint r20.pt --data cifar10 --latency 0.6x --run runs/r20")
app.command(epilog=_SEARCH)(search)


@app.command(epilog=example("amc-hw finetune --run runs/r20 --epochs 30"))
def finetune(run: Run, epochs: Epochs = DEFAULTS["epochs"], compute: Compute = None, json: Json = False) -> None:
    """Fine-tune the pruned network of a run; a stopped fine-tuning goes on where it was."""
    require_compute_name(compute)
    read_config(run)
    require_room(run)
    from amc_hw.pipeline import finish
    from amc_hw.pipeline.begin import open_trained
    from amc_hw.runs.file_lock import exclusive
    from amc_hw.runs.folder import RunFolder
    from amc_hw.training.compute import find_compute
    from amc_hw.training.evaluation import evaluate

    config, trained = open_trained(run, find_compute(compute))
    folder = RunFolder(run)
    with progress_bar() as report, exclusive(run, report) if is_first_process() else nullcontext():
        network = finish.finetune(folder, trained, epochs, config.seed, report)
    if not is_first_process():
        return
    accuracy = evaluate(network, trained.data.search, device=trained.compute)
    if json:
        print_json({"weights": str(folder.finetuned), "search_accuracy": accuracy})
    else:
        learned = ", which was learned, too" if finish.search_split_learned(folder) else ""
        answer(f"{folder.finetuned}: {accuracy:.2%} of the search split{learned}")
        say(f"Next: amc-hw evaluate --run {shlex.quote(str(run))}")


@app.command(epilog=example("amc-hw export --run runs/r20 --format tflite"))
def export(
    run: Run,
    format: Annotated[str, typer.Option("--format", help=f"{listed(EXPORTS)}; aten is for --device cuda")] = "tflite",
    json: Json = False,
) -> None:
    """Write a run's network as a file for devices."""
    require_export_name(format)
    read_config(run)
    require_room(run)
    from amc_hw.pipeline import finish
    from amc_hw.pipeline.begin import open_trained
    from amc_hw.runs.folder import RunFolder

    _, trained = open_trained(run)
    folder = RunFolder(run)
    path = finish.export(folder, trained, format, finish.batch_of(folder))
    if json:
        print_json({"file": str(path), "bytes": path.stat().st_size})
    else:
        answer(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


@app.command(epilog=example("amc-hw evaluate runs/r20/model.tflite --data npz:cifar10"))
def evaluate(
    file: Annotated[Path | None, typer.Argument(help="a .tflite or .onnx file")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="or a run folder")] = None,
    data: Annotated[str | None, typer.Option(help="data set; by default the run's")] = None,
    data_root: DataRoot = None,
    json: Json = False,
) -> None:
    """Print the top-1 accuracy on the test set of an exported file or of a run's network."""
    from amc_hw.pipeline.settings import check_evaluation

    check_evaluation(file, run, data, data_root)
    from amc_hw.pipeline.evaluate import evaluate_on_test

    with progress_bar() as report:
        name, accuracy = evaluate_on_test(file, run, data, data_root, report)
    if json:
        print_json({"evaluated": name, "accuracy": accuracy})
    else:
        answer(f"{name}: {accuracy:.2%} of the test set")


@app.command(epilog=example("amc-hw benchmark model.tflite --device host:threads=2"))
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
    from amc_hw.devices.registry import open_device, require_device_name
    from amc_hw.devices.turns import taking_turns
    from amc_hw.profiling.benchmark import benchmark as time_files
    from amc_hw.profiling.benchmark import benchmark_record, require_files, write_logs
    from amc_hw.runs.file_names import LOGS
    from amc_hw.runs.record_files import RecordFile
    from amc_hw.runs.records import Benchmark

    protocol = Protocol(warmup, runs, repeats)
    require_device_name(device)
    require_files(files)
    if out is not None:
        require_writable(out)
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
    rows = []
    for timing in timings.values():
        p90 = "" if timing.p90_ms is None else f"{timing.p90_ms:.3f}"
        state = "unstable" if timing.unstable else "steady"
        means = " ".join(f"{mean:.3f}" for mean in timing.means_ms)
        if len(timing.means_ms) > LISTED_REPEATS:
            means = f"{len(timing.means_ms)} from {min(timing.means_ms):.3f} to {max(timing.means_ms):.3f}"
        rows.append((timing.name, f"{timing.latency_ms:.3f}", means, p90, f"{timing.doubt:.1%}", state))
    print_table("", ("file", "ms", "means of the repeats", "p90", "error", "state"), rows)


@app.command(epilog=example("amc-hw report --run runs/r20"))
def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="run folders to hold against each other")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the one run folder to draw")] = None,
    out: Annotated[Path, typer.Option(help="file for the comparison of several runs")] = Path("compare.html"),
    json: Json = False,
) -> None:
    """Draw report.html from what a run folder holds, or one page that compares several runs."""
    from amc_hw.errors import UsageError
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


_COMPRESS = example("amc-hw compress --model resnet20 --checkpoint r20.pt --data cifar10 --latency 12ms --run runs/r20")
app.command(epilog=_COMPRESS)(compress)
app.command(epilog=example("amc-hw sweep --latency 0.3x,0.5x,0.7x --seeds 3"))(sweep)
app.command(epilog=example("amc-hw sparsify --size 0.2x --rounds 0.5x,0.35x --run runs/sparse"))(sparsify)


def main() -> None:
    """Run the command line; every failure is one sentence on stderr and an exit status."""
    debug = "--debug" in sys.argv[1:]
    watch_for_interrupts()
    say_warnings()
    try:
        app(prog_name="amc-hw")
    except AmcHwError as error:
        if debug:
            raise
        say(f"error: {with_options(str(error))}")
        sys.exit(error.exit_status)
    except SystemExit as stop:
        if stop.code == 130:  # click turned Ctrl-C into it
            again = {"benchmark", "evaluate", "export"} & set(sys.argv[1:2])
            say("stopped; nothing was kept." if again else "stopped; the same command goes on from here.")
        raise
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"error: {type(error).__name__}: {error}; run it with amc-hw --debug ... to see where.")
        sys.exit(1)
