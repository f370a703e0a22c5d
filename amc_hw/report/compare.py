"""Several runs on one page: what each came to, and the Pareto front of accuracy against latency."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amc_hw.errors import UsageError
from amc_hw.policy import DTYPES
from amc_hw.report.axes import Axis, linear_axis
from amc_hw.report.charts import scored
from amc_hw.report.html import write_page
from amc_hw.report.numbers import milliseconds, percent, with_unit
from amc_hw.report.plots import Marks, Plot, Shade, Shape, line_path, mark
from amc_hw.report.run import Run, read_run
from amc_hw.report.table import titled
from amc_hw.report.verdict import Verdict, verdict
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.summaries import Figures, Summary

_SHAPES: tuple[Shape, ...] = ("circle", "diamond", "square", "triangle")
_COLOURS = 6

# More labels than this cover each other; only the front keeps its numbers then.
_MOST_LABELS = 16

# The same network's latency in two runs differs by less where the device keeps its speed.
_SAME_SPEED = 1.1


@dataclass(frozen=True)
class ComparedRun:
    """One run's row; ``number`` is its label in the plot."""

    number: int
    name: str
    model: str
    precision: str
    strategy: str
    budget: str
    verdict: Verdict
    original: Figures
    compressed: Figures
    smaller: Mapping[str, Figures]
    on_front: bool
    seed: int | None
    seconds: float | None


@dataclass(frozen=True)
class Comparison:
    """The runs that may be held against each other: one device, one data set."""

    device: str
    data: str
    scored: str
    rows: tuple[ComparedRun, ...]
    plot: Plot | None
    drift: str


def compare_report(runs: Sequence[Path], out: Path) -> Path:
    """Draw one self-contained page that holds several run folders against each other, and return its path.

    Latencies of different devices and accuracies on different data, or of different metrics, never share a plot: each
    such pair gets a section of its own. A run that has not ended is listed, and is in no plot.

    Raises:
        UsageError: no run folders are named.
        RunFolderError: one of them is no run folder or is damaged, or the page cannot be written.
    """
    if not runs:
        raise UsageError("there is nothing to compare; name one or more run folders.")
    together: dict[str, list[tuple[int, Run]]] = {}
    for number, folder in enumerate(runs, start=1):
        run = read_run(RunFolder(folder))
        device = {name: fact for name, fact in run.device.items() if name != "dtype"}  # any precision is comparable
        kind = json.dumps([device, run.fact("data"), run.metric], sort_keys=True)
        together.setdefault(kind, []).append((number, run))
    comparisons = [_comparison(members) for members in together.values()]
    write_page(out, "compare.html.jinja", {"comparisons": comparisons, "count": len(runs)})
    return out


def _comparison(members: list[tuple[int, Run]]) -> Comparison:
    summaries = {number: run.summary for number, run in members if run.summary and _point(run.summary)}
    front = pareto_front({number: _point(summary) for number, summary in summaries.items()})
    rows = tuple(_row(number, run, number in front) for number, run in members)
    first = members[0][1]
    return Comparison(
        device=first.fact("device"),
        data=first.fact("data"),
        scored=titled(first.metric),
        rows=rows,
        plot=_pareto_plot([row for row in rows if row.number in summaries], front, first.metric) if summaries else None,
        drift=_drift(rows),
    )


def _drift(rows: Sequence[ComparedRun]) -> str:
    """Say that the device was not as fast in all runs, which their originals tell; "" where it was."""
    originals: dict[str, list[float]] = {}
    for row in rows:
        if row.original.latency_ms:
            originals.setdefault(row.model, []).append(row.original.latency_ms)
    for model, latencies in originals.items():
        if max(latencies) > _SAME_SPEED * min(latencies):
            return (
                f"The device changed its speed between the runs: {model} itself took {milliseconds(min(latencies))} in "
                f"one and {milliseconds(max(latencies))} in another. A share is of the run's own original, measured in "
                "turns with it; compare these, not milliseconds."
            )
    return ""


def _point(summary: Summary) -> tuple[float, float] | None:
    """Return (measured ms, top-1 in percent); None where one of them is not known or was not verified."""
    latency, accuracy = summary.compressed.latency_ms, summary.compressed.accuracy
    if latency is None or accuracy is None or summary.unverified:
        return None
    return latency, 100 * accuracy


def pareto_front(points: dict[int, tuple[float, float] | None]) -> list[int]:
    """Return the keys of the points (cost, value) that no other point beats, by rising cost.

    A point is beaten by one that costs no more and is worth no less, and differs from it.
    """
    front: list[int] = []
    best = float("-inf")
    known = [(cost_value, key) for key, cost_value in points.items() if cost_value is not None]
    for (_, value), key in sorted(known, key=lambda item: (item[0][0], -item[0][1], item[1])):
        if value > best:
            front.append(key)
            best = value
    return front


def _row(number: int, run: Run, on_front: bool) -> ComparedRun:
    summary = run.summary or Summary()
    budget = summary.budget
    strategy = summary.search.strategy or run.config.get("strategy")
    return ComparedRun(
        number=number,
        name=run.folder.path.resolve().name,
        model=run.fact("model"),
        precision=_precision(run.device.get("dtype")),
        strategy=strategy if isinstance(strategy, str) else "",
        budget=with_unit(budget.metric)(budget.target) if budget else "",
        verdict=verdict(run),
        original=summary.original,
        compressed=summary.compressed,
        smaller=summary.smaller,
        on_front=on_front,
        seed=summary.search.seed,
        seconds=summary.search.seconds,
    )


def _precision(dtype: object) -> str:
    """Return what users call the precision of a table; another type (``bfloat16``) is called as it is."""
    return next((name for name, called in DTYPES.items() if called == dtype), str(dtype or ""))


def _pareto_plot(rows: list[ComparedRun], front: list[int], metric: str) -> Plot:
    """Draw the finished runs by strategy, their originals as squares, and the front as a staircase."""
    points = {row.number: _reached(row.compressed) for row in rows}
    originals = sorted({_reached(row.original) for row in rows if row.original.latency_ms and row.original.accuracy})
    smaller = sorted(
        {
            (name, _reached(each))
            for row in rows
            for name, each in row.smaller.items()
            if each.latency_ms and each.accuracy is not None
        }
    )
    every = [*points.values(), *originals, *(point for _, point in smaller)]
    x = linear_axis("measured latency, ms", [latency for latency, _ in every])
    y = linear_axis(f"{metric} on the test set, %", [accuracy for _, accuracy in every])
    shades = (Shade("front", line_path(x, y, [points[number] for number in front], step=True), "Pareto front"),)
    return Plot(
        title=f"{scored(metric)} against latency",
        summary=f"{len(rows)} runs; {len(front)} of them on the Pareto front.",
        x=x,
        y=y,
        shades=shades if len(front) > 1 else (),
        series=(*_strategy_marks(x, y, rows, points), *_unpruned_marks(x, y, originals, smaller)),
        height=380,
        note="Numbers are those of the table. Up and to the left is better.",
    )


def _reached(figures: Figures) -> tuple[float, float]:
    return figures.latency_ms or 0.0, 100 * (figures.accuracy or 0.0)


def _strategy_marks(x: Axis, y: Axis, rows: list[ComparedRun], points: dict[int, tuple[float, float]]) -> list[Marks]:
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    series = []
    for index, strategy in enumerate(strategies):
        marks = tuple(
            mark(x, y, points[row.number], _tooltip(row), _label(row, len(rows)))
            for row in rows
            if row.strategy == strategy
        )
        # The shape changes with the colour, and again when colours are used up: none is told by colour alone.
        shape = _SHAPES[(index + index // _COLOURS) % len(_SHAPES)]
        series.append(Marks(f"s{index % _COLOURS}", marks, shape, 5.0, strategy or "Run"))
    return series


def _unpruned_marks(
    x: Axis, y: Axis, originals: list[tuple[float, float]], smaller: list[tuple[str, tuple[float, float]]]
) -> list[Marks]:
    """Return the marks of the originals, and of smaller networks, of which the first of each name has it as label."""
    first = dict(reversed(smaller))
    named = tuple(
        mark(x, y, at, f"{name}: {milliseconds(at[0])}, {at[1]:.2f} %", name if first[name] == at else "")
        for name, at in smaller
    )
    whole = tuple(mark(x, y, point, f"Original: {milliseconds(point[0])}, {point[1]:.2f} %") for point in originals)
    kinds = [
        Marks("reference", whole, "circle", 5.0, "Original"),
        Marks("reference", named, "square", 5.0, "Smaller network"),
    ]
    return [kind for kind in kinds if kind.marks]


def _tooltip(row: ComparedRun) -> str:
    latency, accuracy = row.compressed.latency_ms or 0.0, row.compressed.accuracy or 0.0
    return f"{row.number}: {row.name}, {row.strategy}, {row.precision}, {milliseconds(latency)}, {percent(accuracy)}"


def _label(row: ComparedRun, runs: int) -> str:
    return str(row.number) if row.on_front or runs <= _MOST_LABELS else ""
