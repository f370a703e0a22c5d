"""The benchmark's samples: every run of every repeat, and the figures that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amc_hw.profiling.timing import Timing
from amc_hw.report.axes import Axis, Tick, linear_axis
from amc_hw.report.numbers import milliseconds
from amc_hw.report.plots import MOST_MARKS, Mark, Marks, Plot, Shade, line_path, mark
from amc_hw.runs.records import Benchmark, BenchmarkedModel

# The share of a row's height that its runs fill.
FILLED = 0.7
MOST_TICKS = 12


@dataclass(frozen=True)
class RepeatFigures:
    """One repeat's figures, in milliseconds."""

    runs: int
    mean: float
    median: float
    p90: float
    std: float
    low: float
    quarter: float
    three_quarters: float


@dataclass(frozen=True)
class ModelSamples:
    """One model's samples: the plot, the figures of each repeat and the latency that is made of them."""

    name: str
    style: str
    plot: Plot
    repeats: tuple[RepeatFigures, ...]
    latency_ms: float
    spread: float


def benchmark_samples(benchmark: Benchmark | None) -> list[ModelSamples]:
    """Return what the report shows of every benchmarked model that has samples."""
    return [
        model_samples(model, "original" if model.name.startswith("original") else "compressed")
        for model in (benchmark.models if benchmark else ())
        if model.repeats
    ]


def model_samples(model: BenchmarkedModel, style: str) -> ModelSamples:
    """Return what the report shows of one benchmarked model; it has at least one repeat."""
    samples = [np.asarray(repeat.samples_us) / 1000 for repeat in model.repeats]
    figures = tuple(_figures(values) for values in samples)
    timing = Timing(model.name, model.file or "", tuple(repeat.samples_us for repeat in model.repeats))
    plot = _strips(model.name, [values.tolist() for values in samples], figures, style)
    return ModelSamples(model.name, style, plot, figures, timing.latency_ms, timing.spread)


def _figures(values: np.ndarray) -> RepeatFigures:
    low, quarter, median, three_quarters, p90 = np.percentile(values, (0, 25, 50, 75, 90))
    return RepeatFigures(
        len(values),
        float(values.mean()),
        float(median),
        float(p90),
        float(values.std()),
        float(low),
        float(quarter),
        float(three_quarters),
    )


def _strips(name: str, samples: list[list[float]], figures: tuple[RepeatFigures, ...], style: str) -> Plot:
    """Draw a row for each repeat: a dot for every run, the middle half as a box, the mean as a line."""
    every = [value for repeat in samples for value in repeat]
    end = _axis_end(every)
    x = linear_axis("time of a run, ms", [min(every), end], padding=0.04)
    rows = len(samples)
    named = range(0, rows, -(-rows // MOST_TICKS))
    ticks = tuple(Tick(100 * (rows - row - 0.5) / rows, str(row + 1)) for row in named)
    y = Axis("repeat", 0, rows, ticks)
    step = -(-len(every) // MOST_MARKS)
    inside: list[Mark] = []
    beyond: list[Mark] = []
    for row, values in enumerate(samples):
        for run in range(0, len(values), step):
            height = rows - row - 0.5 + FILLED * (0.5 - (run + 0.5) / len(values))
            text = f"Run {run + 1} of repeat {row + 1}: {milliseconds(values[run])}"
            if values[run] <= end:
                inside.append(mark(x, y, (values[run], height)))
            else:
                beyond.append(mark(x, y, (x.high, height), text))
    longer = sum(value > end for value in every)
    note = f"{longer} of {len(every)} runs took longer than {milliseconds(end)}."
    series = [Marks(style, tuple(inside), radius=1.6, legend="One run")]
    if beyond:
        series.append(Marks("beyond", tuple(beyond), shape="triangle", radius=4, legend="Beyond the axis"))
    boxes = "".join(_box(x, y, row, rows, repeat) for row, repeat in enumerate(figures))
    means = "".join(
        line_path(x, y, [(repeat.mean, top), (repeat.mean, top - 0.9)])
        for top, repeat in ((rows - row - 0.05, repeat) for row, repeat in enumerate(figures))
    )
    return Plot(
        title=name,
        summary=f"{len(every)} runs of {name} in {rows} repeats, from {milliseconds(min(every))} to "
        f"{milliseconds(max(every))}.",
        x=x,
        y=y,
        shades=(Shade("half", boxes, "Middle half"), Shade("mean", means, "Mean")),
        series=tuple(series),
        height=34 + min(52 * rows, max(312, 10 * rows)),
        note=note if beyond else "",
        grid=False,
    )


def _axis_end(values: list[float]) -> float:
    """Return where the axis may end: a few interrupted runs would squeeze all others into a line."""
    quarter, three_quarters = np.percentile(values, (25, 75))
    far_out = three_quarters + 4 * (three_quarters - quarter)
    return min(max(values), float(far_out)) if far_out > three_quarters else max(values)


def _box(x: Axis, y: Axis, row: int, rows: int, repeat: RepeatFigures) -> str:
    top, bottom = rows - row - 0.05, rows - row - 0.95
    left, right = repeat.quarter, repeat.three_quarters
    return line_path(x, y, [(left, top), (right, top), (right, bottom), (left, bottom)]) + "Z"
