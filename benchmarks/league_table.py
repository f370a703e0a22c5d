"""What a league prints and draws: accuracy against latency, mean and spread over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from league_parts import Result
from matplotlib import colormaps
from matplotlib.figure import Figure

HEAD = "| budget | contestant | precision | top-1 | of the original's latency | ms | within | seeds |\n|" + 8 * "---|"


@dataclass(frozen=True)
class Row:
    """The results of one contestant with one budget, one for each seed.

    Attributes:
        results: all of them.
    """

    results: Sequence[Result]

    @property
    def first(self) -> Result:
        return self.results[0]

    @property
    def top1(self) -> float:
        """Mean accuracy, 0..1."""
        return float(np.mean([each.top1 for each in self.results]))

    @property
    def share(self) -> float:
        """Mean latency as a share of the original's."""
        return float(np.mean([each.share for each in self.results]))

    @property
    def name(self) -> str:
        """The contestant, with its precision."""
        return f"{self.first.way} ({self.first.precision})"

    def line(self, whole_ms: float) -> str:
        """Return a line of the table, given the original's latency."""
        one, many = self.first, len(self.results) > 1
        spread_top1 = f" ({100 * np.ptp([each.top1 for each in self.results]):.2f})" if many else ""
        spread_share = f" ({np.ptp([each.share for each in self.results]):.3f})" if many else ""
        kept = sum(one.budget is not None and each.share <= one.budget for each in self.results)
        cells = (
            "" if one.budget is None else f"{one.budget:g}x",
            one.way,
            one.precision,
            f"{self.top1:.2%}{spread_top1}",
            f"{self.share:.3f}x{spread_share}",
            f"{self.share * whole_ms:.4f}",
            "" if one.budget is None else f"{kept} of {len(self.results)}",
            "" if one.seed is None else str(len(self.results)),
        )
        return f"| {' | '.join(cells)} |"


def rows(results: Iterable[Result]) -> list[Row]:
    """Gather results in rows: those without a budget first, then by budget, the most accurate first."""
    gathered: dict[tuple[float | None, str, str], list[Result]] = {}
    for each in results:
        gathered.setdefault((each.budget, each.way, each.precision), []).append(each)
    ordered = [Row(sorted(each, key=lambda result: result.seed or 0)) for each in gathered.values()]
    return sorted(ordered, key=lambda row: (-(row.first.budget or float("inf")), -row.top1))


def original_ms(results: Iterable[Result]) -> float:
    """Return what the original takes: the median of all measurements, which the machine's speed moves least."""
    return float(np.median([each.original_ms for each in results]))


def table(results: Sequence[Result]) -> str:
    """Return the league's table in Markdown; spreads (largest less smallest) are in brackets."""
    whole = original_ms(results)
    return "\n".join([HEAD, *(row.line(whole) for row in rows(results))])


def draw(results: Sequence[Result], file: Path, network: str) -> None:
    """Draw accuracy against milliseconds; bars reach from the worst seed to the best, lines join the budgets."""
    whole, lines = original_ms(results), dict[str, list[Row]]()
    for row in rows(results):
        lines.setdefault(row.name, []).append(row)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, line) in enumerate(lines.items()):
        mean = np.array([100 * row.top1 for row in line])
        seeds = [[100 * each.top1 for each in row.results] for row in line]
        reach = [mean - np.array(list(map(min, seeds))), np.array(list(map(max, seeds))) - mean]
        axes.errorbar(
            [row.share * whole for row in line],
            mean,
            yerr=reach,
            fmt=f"{'osD^vP*X'[number % 8]}-",
            color=colormaps["tab20"](number % 20),
            markersize=6,
            linewidth=1,
            label=name,
        )
    axes.set(xlabel="measured latency, ms", ylabel="top-1 of the test set, %", title=network)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(file, dpi=150)
