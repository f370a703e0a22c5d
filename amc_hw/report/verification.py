"""Predicted against measured latency of the policies that were tried on the device."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from amc_hw.report.axes import Axis, linear_axis
from amc_hw.report.numbers import milliseconds, signed_percent
from amc_hw.report.plots import Mark, Marks, Plot, Shade, line_path, mark
from amc_hw.runs.records import ChosenPolicy

# A prediction is called good within this share of the measurement.
BAND = 0.05


@dataclass(frozen=True)
class VerifiedRow:
    """One measured policy, as the table beside the plot shows it."""

    predicted_ms: float
    measured_ms: float
    score: float | None
    repaired: bool
    chosen: bool

    @property
    def error(self) -> float:
        """The prediction's relative error, positive where the device was slower than predicted."""
        return self.measured_ms / self.predicted_ms - 1


def verified_rows(policy: ChosenPolicy) -> list[VerifiedRow]:
    """Return the candidates that have both a prediction and a measurement, the chosen policy among them."""
    rows = [
        VerifiedRow(
            candidate.predicted_ms,
            candidate.measured_ms,
            candidate.score,
            candidate.repaired,
            candidate.channels == policy.channels,
        )
        for candidate in policy.candidates
        if candidate.measured_ms is not None
    ]
    if policy.chosen is None and policy.predicted_ms is not None and policy.measured_ms is not None:
        rows.append(VerifiedRow(policy.predicted_ms, policy.measured_ms, None, repaired=False, chosen=True))
    return rows


def verified_elsewhere(policy: ChosenPolicy, device: str) -> list[VerifiedRow]:
    """Return the candidates that were measured on a further device, beside their prediction there."""
    rows = []
    for candidate in policy.candidates:
        told = candidate.elsewhere.get(device)
        if told is not None and told.measured_ms is not None:
            chosen = candidate.channels == policy.channels
            rows.append(VerifiedRow(told.predicted_ms, told.measured_ms, candidate.score, candidate.repaired, chosen))
    return rows


def verification_plot(rows: list[VerifiedRow], budget_ms: float | None, device: str = "") -> Plot:
    """Return predicted against measured latency, with the diagonal, the band around it and the budget."""
    values = [value for row in rows for value in (row.predicted_ms, row.measured_ms)]
    values += [min(values) * (1 - BAND), max(values) * (1 + BAND)]
    if budget_ms is not None and 0.5 * min(values) < budget_ms < 2 * max(values):
        values.append(budget_ms)
    x, y = linear_axis("predicted, ms", values), linear_axis("measured, ms", values)
    ends = (max(x.low, 0.0), 2 * x.high)
    band = [(ends[0], ends[0] * (1 + BAND)), (ends[1], ends[1] * (1 + BAND))]
    band += [(ends[1], ends[1] * (1 - BAND)), (ends[0], ends[0] * (1 - BAND))]
    shades = [
        Shade("band", line_path(x, y, band) + "Z", f"Within {BAND:.0%} of the prediction".replace("%", " %")),
        Shade("diagonal", line_path(x, y, [(end, end) for end in ends])),
    ]
    if budget_ms is not None:
        shades.append(Shade("budget", line_path(x, y, [(x.low, budget_ms), (x.high, budget_ms)]), "Budget"))
    return Plot(
        title=f"Candidates on {device or 'the device'}",
        summary=f"{sum(abs(row.error) <= BAND for row in rows)} of {len(rows)} measurements lie within "
        f"{100 * BAND:.0f} % of their prediction.",
        x=x,
        y=y,
        shades=tuple(shades),
        series=tuple(_verified_marks(x, y, rows)),
        height=320,
    )


def _verified_marks(x: Axis, y: Axis, rows: list[VerifiedRow]) -> list[Marks]:
    def marks(chosen: bool, repaired: bool) -> tuple[Mark, ...]:
        return tuple(
            mark(x, y, (row.predicted_ms, row.measured_ms), _verified_text(number, row), str(number))
            for number, row in enumerate(rows, start=1)
            if row.chosen == chosen and (chosen or row.repaired == repaired)
        )

    kinds = [
        Marks("candidate", marks(False, False), radius=4, legend="Candidate"),
        Marks("repaired", marks(False, True), shape="diamond", radius=4.5, legend="Repaired candidate"),
        Marks("chosen", marks(True, False), radius=5.5, legend="Chosen"),
    ]
    return [kind for kind in kinds if kind.marks]


def _verified_text(number: int, row: VerifiedRow) -> str:
    return (
        f"Candidate {number}: predicted {milliseconds(row.predicted_ms)}, "
        f"measured {milliseconds(row.measured_ms)} ({signed_percent(row.error)})"
    )


def verification_sentence(rows: list[VerifiedRow]) -> str:
    """Say how far the predictions were off."""
    errors = [abs(row.error) for row in rows]
    within = sum(error <= BAND for error in errors)
    return (
        f"{within} of {len(rows)} measured within {100 * BAND:.0f} % of the prediction; the median error is "
        f"{100 * statistics.median(errors):.1f} %, the largest {100 * max(errors):.1f} %."
    )
