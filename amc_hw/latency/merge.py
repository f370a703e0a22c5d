"""Joins latency tables of one device."""

from __future__ import annotations

from collections.abc import Mapping

from amc_hw.errors import TableError, UsageError
from amc_hw.latency.table import LatencyTable


def merge(tables: Mapping[str, LatencyTable]) -> LatencyTable:
    """Join tables that belong together; what stands in several of them word for word counts once.

    Entries of the same operator and channels are averaged over their samples. Where two tables say how far
    predictions of one kind of network were off, the larger error stays.

    Args:
        tables: place (for messages) -> table, two at least.

    Raises:
        UsageError: there is nothing to join.
        TableError: two tables have different fingerprints; the message names the fields.
    """
    if len(tables) < 2:
        raise UsageError("name two different tables to join.")
    (first, joined), *others = tables.items()
    result = joined.model_copy(deep=True)
    for place, table in others:
        differences = joined.fingerprint.differences(table.fingerprint)
        if differences:
            raise TableError(
                f"{first} and {place} do not belong together ({'; '.join(differences)}); "
                "keep them apart, and compare them with: amc-hw table diff"
            )
        known = set(result.entries)
        result.add(entry for entry in table.entries if entry not in known)
        result.calibration += [network for network in table.calibration if network not in result.calibration]
        for structure, error in table.errors.items():
            before = result.errors.get(structure, error)
            result.errors[structure] = max(before, error, key=lambda known: known.mean)
        result.notes += [note for note in table.notes if note not in result.notes]
        result.format = min(result.format, table.format)
        result.created = min(result.created, table.created)
        if table.method not in result.method:
            result.method = f"{result.method}; {table.method}"
    return result
