"""The commands below ``amc-hw table``: they parse, call and print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amc_hw.cli.once import Command
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
    example,
)
from amc_hw.cli.table_import import Out, import_, left_out, require_table_or_none
from amc_hw.cli.terminal import answer, print_json, print_table, progress_bar, say
from amc_hw.policy import as_precision

if TYPE_CHECKING:
    from amc_hw.profiling.check import TableCheck

app = typer.Typer(
    help="Look into a latency table, hold it against the device, make one from logs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Plot = Annotated[
    Path | None, typer.Option("--plot", help="file for a picture, a page that any browser shows: layer.html")
]


@app.command("show", cls=Command, epilog=example("amc-hw table show pixel1 --plot layer.html --layer '14x14xC k=1x1'"))
def show(
    file: Annotated[Path, typer.Argument(help="a latency table's file, or a shipped table's name")],
    plot: Plot = None,
    layer: Annotated[str, typer.Option(help="the layer to plot: a part of its operator's name")] = "",
    json: Json = False,
) -> None:
    """Print what a latency table holds; plot a layer's latency against its channels."""
    from amc_hw.latency.read_table import load_table
    from amc_hw.latency.shipped_tables import find_table
    from amc_hw.latency.trust import of_transfer
    from amc_hw.report.table_plots import check_ending, find_family, plot_layer
    from amc_hw.runs.files import require_writable

    loaded = load_table(find_table(file))
    if plot is not None:
        check_ending(plot)
        require_writable(plot)
        plotted = find_family(loaded, layer)
    from amc_hw.latency.prediction import Predictor

    predictor, rows = Predictor(loaded), []
    if plot is not None:
        plot_layer(predictor, plotted, plot)
    for family, entries in sorted(loaded.families().items()):
        surface = predictor.surface(family)
        spans = (
            _span([e.c_in for e in entries]),
            _span([e.c_out for e in entries]),
            _span([e.mean_us for e in entries]),
        )
        unstable = sum(e.unstable for e in entries)
        rows.append((family, str(len(entries)), *spans, str(surface.tile) if surface else "", str(unstable)))
    if json:
        names = ("family", "entries", "c_in", "c_out", "mean_us", "tile", "unstable")
        document = loaded.model_dump(exclude={"entries"})
        print_json({**document, "families": [dict(zip(names, row, strict=True)) for row in rows]})
        return
    for field, value in loaded.fingerprint.model_dump().items():
        answer(f"{field:16} {value}")
    if loaded.transfer is not None:
        carried = sum(entry.transferred for entry in loaded.entries)
        source = f"{loaded.transfer.fingerprint.device}, table of {loaded.transfer.created}"
        answer(f"{'transferred from':16} {source}: {carried} of {len(loaded.entries)} entries")
    elif loaded.totals is not None:
        answer(f"{'learned from':16} the totals of {len(loaded.totals.networks)} whole networks, no operator by itself")
    print_table("", ("operator", "entries", "c_in", "c_out", "us", "tile", "unstable"), rows)
    for name, error in left_out(loaded).items():
        answer(f"{name}: predicted {error:+.1%} off by the other networks' measurements")
    for note in (*of_transfer(loaded), *loaded.notes):
        say(f"note: {note}")
    if plot is not None:
        answer(f"plot: {plot}")


def _span(values: Sequence[float]) -> str:
    texts = (f"{value:.1f}" if isinstance(value, float) else str(value) for value in (min(values), max(values)))
    return "..".join(dict.fromkeys(texts))


@app.command(
    "check", cls=Command, epilog=example("amc-hw table check --device host --model mobilenet_v2 --networks 30 --seed 1")
)
def check(
    model: Model,
    device: DeviceName = DEFAULTS["device"],
    table: TableFile = None,
    networks: Annotated[int, typer.Option(help="random pruned networks to measure", min=1)] = 30,
    image_size: OwnImageSize = None,
    classes: Classes = 1000,
    in_channels: InChannels = 3,
    task: TaskName = DEFAULTS["task"],
    export_all: Annotated[
        bool, typer.Option("--export-all", help="export every network; by default the first, the others are written")
    ] = False,
    plot: Plot = None,
    precision: PrecisionName = "fp32",
    seed: Seed = DEFAULTS["seed"],
    json: Json = False,
) -> None:
    """Measure random pruned networks, blocks left out too, and say how far the table's predictions are off."""
    from amc_hw.devices.table_only import require_device
    from amc_hw.latency.read_table import load_table
    from amc_hw.pipeline.settings import require_network
    from amc_hw.report.table_plots import check_ending, plot_prediction
    from amc_hw.runs.files import require_writable

    require_network(model, task, image_size)
    require_device(device, table, as_precision(precision))
    if table is not None:
        load_table(table)
    if plot is not None:
        check_ending(plot)
        require_writable(plot)
    with progress_bar() as report:
        from amc_hw.pipeline.tables import AskedTable, check_predictions

        asked_table = AskedTable(
            model, device, table, image_size, classes, as_precision(precision), in_channels=in_channels, task=task
        )
        found = check_predictions(asked_table, networks, seed, report, export_all=export_all)
    if plot is not None:
        predicted = [network.predicted_ms for network in found.networks]
        measured = [network.measured_ms for network in found.networks]
        plot_prediction(predicted, measured, f"{model} on {device}, seed {seed}", plot)
    if json:
        asked = {"table": str(found.table), "notes": list(found.notes), "model": model, "device": device, "seed": seed}
        print_json({**asked, **_figures(found)})
        return
    _print_check(found)
    if plot is not None:
        answer(f"plot: {plot}")


def _figures(found: TableCheck) -> dict[str, object]:
    names = ("mean_error", "worst_error", "bias", "rank_correlation", "repeatability", "drift")
    networks = [{**asdict(network), "error": network.error} for network in found.networks]
    return {**{name: getattr(found, name) for name in names}, "networks": networks}


def _print_check(found: TableCheck) -> None:
    rows = [
        (str(number), f"{n.predicted_ms:.4g}", f"{n.measured_ms:.4g}", f"{n.error:+.1%}", f"{n.spread:.1%}")
        for number, n in enumerate(found.networks, start=1)
    ]
    print_table("", ("network", "predicted ms", "measured ms", "error", "spread"), rows)
    rank, again = (
        "none" if value is None else f"{value:.4f}" for value in (found.rank_correlation, found.repeatability)
    )
    answer(
        f"mean error {found.mean_error:.2%}, worst {found.worst_error:.2%}, bias {found.bias:+.2%}, "
        f"rank correlation {rank} (one half of the measurements with the other: {again})"
    )
    if steady := found.at_speed_of_table():
        answer(
            f"the original's time has changed by {found.drift:+.2%} since the table was made; with that divided out: "
            f"mean error {steady.mean_error:.2%}, worst {steady.worst_error:.2%}, bias {steady.bias:+.2%}"
        )
    for note in found.notes:
        say(f"note of the table: {note}")


app.command(
    "import",
    cls=Command,
    epilog=example(
        "amc-hw table import logs/*.txt --model mobilenet_v1 --channels logs/channels.json "
        "--device-name 'Google Pixel 1' --out pixel1.json"
    ),
)(import_)


@app.command("merge", cls=Command, epilog=example("amc-hw table merge monday.json tuesday.json --out both.json"))
def merge(
    files: Annotated[list[Path], typer.Argument(help="tables of one device, two at least")],
    out: Out,
    json: Json = False,
) -> None:
    """Join tables with the same fingerprint; others are refused."""
    from amc_hw.latency.read_table import load_table
    from amc_hw.latency.shipped_tables import find_table

    places = {str(file): find_table(file) for file in files}
    require_table_or_none(out, places.values())
    tables = {name: load_table(place) for name, place in places.items()}
    from amc_hw.latency.merge import merge as join

    joined = join(tables)
    joined.save(out)
    if json:
        print_json({"table": str(out), "entries": len(joined.entries), "networks": len(joined.calibration)})
    else:
        answer(f"{out}: {len(joined.entries)} entries of {len(joined.families())} kinds of operators")


@app.command("diff", cls=Command, epilog=example("amc-hw table diff pixel1.json pixel2.json"))
def diff(
    first: Annotated[Path, typer.Argument(help="a latency table's file, or a shipped table's name")],
    second: Annotated[Path, typer.Argument(help="another, of the same device or not")],
    json: Json = False,
) -> None:
    """Say how much slower or faster operators are by the second table than by the first."""
    from amc_hw.latency.read_table import load_table
    from amc_hw.latency.shipped_tables import find_table

    tables = load_table(find_table(first)), load_table(find_table(second))
    from amc_hw.latency.diff import diff as compare

    found = compare(*tables)
    if json:
        print_json(asdict(found))
        return
    for field in found.fields:
        answer(f"differs: {field}")
    if found.ratios:
        rows = [
            (r.kind, str(r.entries), f"{r.median:.3f}", f"{r.lowest:.3f}", f"{r.highest:.3f}") for r in found.ratios
        ]
        print_table("", ("operator", "entries", "median ratio", "lowest", "highest"), rows)
        answer(f"{found.exact} of {found.ratios[0].entries} entries were measured at the same channels by both")
    else:
        answer("the tables have no operator in common")
    answer(f"operators only in {first}: {len(found.only_first)}; only in {second}: {len(found.only_second)}")
