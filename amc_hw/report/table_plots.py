"""Pictures of a latency table: a layer's staircase, and predicted against measured latency."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amc_hw.errors import UsageError
from amc_hw.latency.table import LatencyTable
from amc_hw.runs.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amc_hw.latency.prediction import Predictor

CURVES = 4
"""Input channel counts for which the staircase is drawn."""


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
        file: PNG or SVG, by its ending.

    Raises:
        UsageError: the file has another ending.
        RunFolderError: it cannot be written.
    """
    figure = _figure(file)
    axes = figure.add_subplot()
    entries = predictor.table.families()[family]
    c_in, c_out = (np.array([getattr(e, side) for e in entries], float) for side in ("c_in", "c_out"))
    times = np.array([entry.mean_us for entry in entries])
    tied = bool(np.all(c_in == c_out))  # depthwise and pointwise operators keep their channels
    points = axes.scatter(c_out, times, c=c_in, s=14, cmap="viridis", zorder=3)
    if not tied and np.ptp(c_in):
        figure.colorbar(points, ax=axes, label="input channels")
    grid = np.arange(c_out.min(), c_out.max() + 1)
    for share in (None,) if tied else np.linspace(0, 1, CURVES):
        inputs = grid if share is None else np.full_like(grid, round(float(np.quantile(c_in, share))))
        surface = predictor.surface(family)
        predict = surface.predict_us if surface else lambda i, o: predictor.extrapolation.predict_us(family, i, o)
        colour = "tab:gray" if share is None or not np.ptp(c_in) else points.cmap(points.norm(inputs[0]))
        axes.step(grid, predict(inputs, grid), where="post", linewidth=1, color=colour)
    axes.set(xlabel="output channels", ylabel="latency, us", title=family)
    axes.title.set_fontsize(9)
    axes.set_ylim(bottom=0)
    _save(figure, file)


def plot_prediction(predicted_ms: Sequence[float], measured_ms: Sequence[float], title: str, file: Path) -> None:
    """Draw predicted against measured latency with the diagonal and the band of 3 % around it.

    Args:
        predicted_ms: of each network.
        measured_ms: of each network, in the same order.
        title: what was held against what.
        file: PNG or SVG, by its ending.

    Raises:
        UsageError: the file has another ending.
        RunFolderError: it cannot be written.
    """
    figure = _figure(file)
    axes = figure.add_subplot()
    low, high = 0.95 * min(*predicted_ms, *measured_ms), 1.05 * max(*predicted_ms, *measured_ms)
    ends = np.array([low, high])
    axes.fill_between(ends, ends * 0.97, ends * 1.03, color="tab:gray", alpha=0.2, label="within 3 %")
    axes.plot(ends, ends, color="tab:gray", linewidth=1)
    axes.scatter(predicted_ms, measured_ms, s=14, zorder=3)
    axes.set(xlabel="predicted, ms", ylabel="measured, ms", title=title, xlim=(low, high), ylim=(low, high))
    axes.legend()
    _save(figure, file)


def check_ending(file: Path) -> None:
    """Raise UsageError where a plot's file is neither PNG nor SVG: before the measurement, not after it."""
    if file.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"a plot is written as .png or .svg, not as '{file.name}'.")


def _figure(file: Path) -> Figure:
    # Matplotlib takes a second to import, which no other command should pay.
    from matplotlib.figure import Figure

    check_ending(file)
    return Figure(figsize=(7, 4.5), layout="constrained")


def _save(figure: Figure, file: Path) -> None:
    content = BytesIO()
    figure.savefig(content, format=file.suffix.lower()[1:], dpi=120)
    write_bytes(file, content.getvalue())
