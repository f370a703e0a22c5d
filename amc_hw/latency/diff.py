"""Compares two latency tables: two devices, or two measurements of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amc_hw.latency.families import kind_of, work_of
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.table import Entry, LatencyTable


@dataclass(frozen=True)
class Ratios:
    """How much longer operators of one kind take by the second table than by the first.

    Attributes:
        kind: of the operators, or ``all``.
        entries: compared.
        median: of the ratios, second over first.
        lowest: the smallest ratio.
        highest: the largest ratio.
    """

    kind: str
    entries: int
    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class TableDifference:
    """Two tables side by side.

    Attributes:
        fields: fingerprint fields that differ, as ``field: first, second``.
        ratios: all operators first, then kind by kind, the most frequent first; empty without common families.
        exact: compared entries that both tables measured at the same channels; the others are held against
            what the first table predicts within its measured channels.
        only_first: families whose work the second table lacks.
        only_second: families whose work the first table lacks.
    """

    fields: tuple[str, ...]
    ratios: tuple[Ratios, ...]
    exact: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def diff(first: LatencyTable, second: LatencyTable) -> TableDifference:
    """Compare two tables; they may have different fingerprints."""
    measured = {_work(entry): entry.mean_us for entry in first.entries}
    measured_as = {entry.key: entry.mean_us for entry in first.entries}
    predictor = Predictor(first)
    pairs: list[tuple[Entry, float]] = []
    exact = 0
    for entry in second.entries:
        before = measured_as.get(entry.key, measured.get(_work(entry)))
        if before is not None:
            exact += 1
            pairs.append((entry, entry.mean_us / before))
            continue
        surface = predictor.surface(entry.family)
        if surface is not None and surface.covers(entry.c_in, entry.c_out):
            predicted = surface.predict_us(np.array([float(entry.c_in)]), np.array([float(entry.c_out)]))[0]
            pairs.append((entry, float(entry.mean_us / predicted)))
    kinds: dict[str, list[float]] = {}
    for entry, ratio in pairs:
        kinds.setdefault(kind_of(entry.family), []).append(ratio)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    found = [_ratios("all", [ratio for _, ratio in pairs])] if pairs else []
    return TableDifference(
        fields=tuple(first.fingerprint.differences(second.fingerprint)),
        ratios=(*found, *(_ratios(kind, values) for kind, values in ordered)),
        exact=exact,
        only_first=_lacking(first, second),
        only_second=_lacking(second, first),
    )


def _lacking(table: LatencyTable, other: LatencyTable) -> tuple[str, ...]:
    known = {work_of(family) for family in other.families()}
    return tuple(sorted(family for family in table.families() if work_of(family) not in known))


def _work(entry: Entry) -> tuple[str, int, int]:
    """Return what an entry is of, whichever exporter named it."""
    return (work_of(entry.family), entry.c_in, entry.c_out)


def _ratios(kind: str, values: Sequence[float]) -> Ratios:
    return Ratios(kind, len(values), float(np.median(values)), min(values), max(values))
