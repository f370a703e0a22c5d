"""What a plot is made of, in percentages of its area, so that one drawing fits every screen and paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from amc_hw.report.axes import Axis

Shape = Literal["circle", "diamond", "square", "triangle"]

# More marks than this slow browsers down and hide each other; every k-th is drawn then.
MOST_MARKS = 1500


@dataclass(frozen=True)
class Mark:
    """A point with the text that shows while the pointer rests on it, and a label beside it."""

    x: float
    y: float
    tooltip: str = ""
    label: str = ""


@dataclass(frozen=True)
class Marks:
    """Points that look the same; ``style`` is a class of the style sheet."""

    style: str
    marks: tuple[Mark, ...]
    shape: Shape = "circle"
    radius: float = 3.0
    legend: str = ""


@dataclass(frozen=True)
class Shade:
    """A line or a filled area: an SVG path over a square of 100 x 100, y downward."""

    style: str
    path: str
    legend: str = ""


@dataclass(frozen=True)
class Plot:
    """Axes and everything inside of them; ``summary`` is what a screen reader says."""

    title: str
    summary: str
    x: Axis
    y: Axis
    shades: tuple[Shade, ...] = ()
    series: tuple[Marks, ...] = ()
    height: int = 260
    note: str = ""
    grid: bool = True

    @property
    def left(self) -> int:
        """Room for the vertical axis' labels, in pixels."""
        return 14 + 7 * max((len(tick.label) for tick in self.y.ticks), default=1)

    @property
    def legend(self) -> list[Marks | Shade]:
        """Everything that carries a legend text, in drawing order."""
        parts: list[Marks | Shade] = [*self.series, *self.shades]
        return [part for part in parts if part.legend]


def mark(x: Axis, y: Axis, point: tuple[float, float], tooltip: str = "", label: str = "") -> Mark:
    """Return a mark at a point given in the axes' units."""
    return Mark(x.at(point[0]), round(100 - y.at(point[1]), 2), tooltip, label)


def line_path(x: Axis, y: Axis, points: Sequence[tuple[float, float]], *, step: bool = False) -> str:
    """Return the path through points in the axes' units; a step line keeps each height until the next x."""
    corners = [(x.at(a), round(100 - y.at(b), 2)) for a, b in points]
    if not corners:
        return ""
    start = f"M{corners[0][0]:g} {corners[0][1]:g}"
    if step:
        return start + "".join(f"H{a:g}V{b:g}" for a, b in corners[1:])
    return start + "".join(f"L{a:g} {b:g}" for a, b in corners[1:])


def thinned(length: int) -> range:
    """Return the indices to draw: all of them, or every k-th where there are too many."""
    return range(0, length, -(-length // MOST_MARKS) or 1)
