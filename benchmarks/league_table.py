"""What a league came to: its rows, the table of their means over the seeds, and the plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from amc_hw.runs.files import read_json, write_json

COLUMNS = ("budget", "way", "top-1, %", "measured ms", "of the original's", "within the budget")
MARKERS = "osD^v<>Phd"


@dataclass(frozen=True)
class Row:
    """One finished network.

    Attributes:
        way: what made it.
        budget: share of what the float32 original takes; None of a network that nobody pruned.
        seed: of the way.
        top1: accuracy of its file on the test set, a fraction.
        latency_ms: of its file.
        original_ms: of the float32 original, timed in turns with it.
    """

    way: str
    budget: float | None
    seed: int
    top1: float
    latency_ms: float
    original_ms: float

    @property
    def share(self) -> float:
        return self.latency_ms / self.original_ms

    @property
    def is_within(self) -> bool:
        return self.budget is None or self.share <= self.budget

    def __str__(self) -> str:
        name = self.way if self.budget is None else f"{self.budget:g}x {self.way}, seed {self.seed}"
        return f"{name}: {self.top1:.2%}, {self.latency_ms:.4f} ms, {self.share:.3f}x"


def write_row(row: Row, file: Path) -> None:
    write_json(file, asdict(row))


def find_row(file: Path) -> Row | None:
    """Return a finished row, or None where there is none yet."""
    return Row(**read_json(file)) if file.exists() else None


@dataclass(frozen=True)
class Entry:
    """The rows of one way and budget, one for each seed."""

    rows: Sequence[Row]

    @property
    def way(self) -> str:
        return self.rows[0].way

    @property
    def budget(self) -> float | None:
        return self.rows[0].budget

    @property
    def percent(self) -> list[float]:
        return [100 * row.top1 for row in self.rows]

    @property
    def ms(self) -> list[float]:
        return [row.latency_ms for row in self.rows]

    def cells(self) -> list[str]:
        within = f"{sum(row.is_within for row in self.rows)} of {len(self.rows)}"
        return [
            "-" if self.budget is None else f"{self.budget:g}x",
            self.way,
            spread(self.percent, 2),
            spread(self.ms, 4),
            spread([row.share for row in self.rows], 3),
            "" if self.budget is None else within,
        ]


def entries(rows: Iterable[Row]) -> list[Entry]:
    """Gather the seeds: who is not pruned first, then the largest budget, of each the best first."""
    found: dict[tuple[str, float | None], list[Row]] = {}
    for row in rows:
        found.setdefault((row.way, row.budget), []).append(row)
    gathered = [Entry(each) for each in found.values()]
    return sorted(gathered, key=lambda each: (-(each.budget or 2.0), -float(np.mean(each.percent))))


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean, and in brackets how far the largest and the smallest are apart, where there are several."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({np.ptp(values):.{digits}f})"


def table(rows: Iterable[Row]) -> str:
    """Return the table, in Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(entry.cells() for entry in entries(rows))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def plot(rows: Iterable[Row], title: str, file: Path) -> None:
    """Draw accuracy against measured milliseconds: a line for each way, bars from the worst seed to the best."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, list[Entry]] = {}
    for entry in entries(rows):
        lines.setdefault(entry.way, []).append(entry)
    for number, (way, line) in enumerate(lines.items()):
        is_stock = line[0].budget is None
        axes.errorbar(
            [float(np.mean(each.ms)) for each in line],
            [float(np.mean(each.percent)) for each in line],
            xerr=_bars([each.ms for each in line]),
            yerr=_bars([each.percent for each in line]),
            label=way,
            color=f"C{number % 10}",
            marker="*" if is_stock else MARKERS[number % len(MARKERS)],
            markersize=12 if is_stock else 6,
            linestyle="-" if number < 10 else "--",
        )
    axes.set(xlabel="measured latency, ms", ylabel="top-1 on the test set, %", title=title)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(file, dpi=150)


def _bars(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return how far the least and the largest are from the mean, a column for each point."""
    return [[np.mean(each) - min(each) for each in values], [max(each) - np.mean(each) for each in values]]
