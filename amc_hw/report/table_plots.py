"""Pictures of a latency table, as pages of the report's look: a layer's staircase, and predicted against measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amc_hw.errors import UsageError
from amc_hw.latency.table import LatencyTable
from amc_hw.report.axes import linear_axis
from amc_hw.report.html import write_page
from amc_hw.report.numbers import milliseconds
from amc_hw.report.plots import Marks, Plot, Shade, line_path, mark, thinned

if TYPE_CHECKING:
    from amc_hw.latency.prediction import Predictor
    from amc_hw.latency.table import Entry

CURVES = 4
"""Input channel counts for which the staircase is drawn."""
BAND = 0.03


def find_family(table: LatencyTable, part: str) -> str:
    """Return the one family of a table whose name holds ``part``.

    Raises:
        UsageError: none does, or several do.
    """
    families = sorted(table.families())
    exact = [family for family in families if family == part]
    found = exact or [f for f in families if f.startswith(part)] or [f for f in families if part in f]
    if len(found) != 1:
        shown = "; ".join((found or families)[:4])
        what = "several layers fit" if found else "no layer of the table fits"
        raise UsageError(f"{what} '{part}'; write more of one of: {shown}.")
    return found[0]


def plot_layer(predictor: Predictor, family: str, file: Path) -> None:
    """Draw a layer's latency against its output channels, measured and predicted.

    Args:
        predictor: the table.
        family: one of its families.
        file: the page, ``.html``.

    Raises:
        UsageError: the file has another ending.
        RunFolderError: it cannot be written.
    """
    entries = predictor.table.families()[family]
    tied = all(entry.c_in == entry.c_out for entry in entries)  # depthwise and pointwise operators keep their channels
    inputs = sorted({entry.c_in for entry in entries})
    drawn = [None] if tied else sorted({round(float(np.quantile(inputs, s))) for s in np.linspace(0, 1, CURVES)})
    outputs = np.arange(min(entry.c_out for entry in entries), max(entry.c_out for entry in entries) + 1)
    curves = [_curve(predictor, family, c_in, outputs) for c_in in drawn]
    times = [entry.mean_us for entry in entries]
    x = linear_axis("Output channels", [float(outputs[0]), float(outputs[-1])], whole=True)
    y = linear_axis("Latency, µs", [0.0, *times, *(float(curve.max()) for curve in curves)])
    lines = [
        Shade(f"s{number}", line_path(x, y, list(zip(outputs.tolist(), curve.tolist(), strict=True)), step=True))
        for number, curve in enumerate(curves)
    ]
    marks = []
    for number, c_in in enumerate(drawn):
        near = [entry for entry in entries if c_in is None or _nearest(entry.c_in, drawn) == c_in]
        points = [near[index] for index in thinned(len(near))]
        named = "measured" if c_in is None else f"about {c_in} input channels"
        marked = tuple(mark(x, y, (point.c_out, point.mean_us), _words(point)) for point in points)
        marks.append(Marks(f"s{number}", marked, radius=3.5, legend=named))
    summary = f"{len(entries)} measurements and what is predicted between them"
    _write(file, Plot(family, summary, x, y, tuple(lines), tuple(marks), height=380), family, f"{summary}.")


def plot_prediction(predicted_ms: Sequence[float], measured_ms: Sequence[float], title: str, file: Path) -> None:
    """Draw predicted against measured latency with the diagonal and the band of 3 % around it.

    Args:
        predicted_ms: of each network.
        measured_ms: of each network, in the same order.
        title: what was held against what.
        file: the page, ``.html``.

    Raises:
        UsageError: the file has another ending.
        RunFolderError: it cannot be written.
    """
    pairs = list(zip(predicted_ms, measured_ms, strict=True))
    x = linear_axis("Predicted, ms", [*predicted_ms, *measured_ms])
    y = linear_axis("Measured, ms", [*predicted_ms, *measured_ms])
    ends = (x.low, x.high)
    band = [(end, end * (1 + BAND)) for end in ends] + [(end, end * (1 - BAND)) for end in reversed(ends)]
    shades = (
        Shade("band", line_path(x, y, band) + "Z", "within 3 %"),
        Shade("diagonal", line_path(x, y, [(end, end) for end in ends])),
    )
    points = tuple(
        mark(x, y, pair, f"predicted {milliseconds(pair[0])}, measured {milliseconds(pair[1])}") for pair in pairs
    )
    within = sum(abs(measured / predicted - 1) <= BAND for predicted, measured in pairs)
    summary = f"{within} of {len(pairs)} networks lie within 3 % of their prediction"
    plot = Plot(title, summary, x, y, shades, (Marks("point", points, radius=4, legend="a network"),), height=380)
    _write(file, plot, title, f"{summary}.")


def check_ending(file: Path) -> None:
    """Raise UsageError where a plot's file is no page: before the measurement, not after it."""
    if file.suffix.lower() != ".html":
        raise UsageError(f"a plot is written as a page, .html, not as '{file.name}'.")


def _curve(predictor: Predictor, family: str, c_in: int | None, outputs: np.ndarray) -> np.ndarray:
    inputs = outputs if c_in is None else np.full_like(outputs, c_in)
    surface = predictor.surface(family)
    if surface is None:
        return np.asarray(predictor.extrapolation.predict_us(family, inputs, outputs))
    return np.asarray(surface.predict_us(inputs, outputs))


def _nearest(c_in: int, drawn: Sequence[int | None]) -> int:
    return min((each for each in drawn if each is not None), key=lambda each: abs(each - c_in))


def _words(entry: Entry) -> str:
    return f"{entry.c_in} to {entry.c_out} channels: {entry.mean_us:.3g} µs"


def _write(file: Path, plot: Plot, title: str, sentence: str) -> None:
    check_ending(file)
    write_page(file, "plot.html.jinja", {"plot": plot, "title": title, "sentence": sentence})
