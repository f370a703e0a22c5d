"""Joins latency tables of one device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amc_hw.errors import TableError, UsageError
from amc_hw.latency.learned import learn_table
from amc_hw.latency.share import Totals
from amc_hw.latency.table import Entry, LatencyTable


def merge(tables: Mapping[str, LatencyTable]) -> LatencyTable:
    """Join tables that belong together; no sample counts twice.

    Entries of the same operator and channels are averaged over their samples, unless the tables have a source in
    common (one is a copy of the other that was measured on, or both are of the same logs): which samples both hold
    cannot be told then, so the entry with more samples stays. Where two tables say how far predictions of one kind of
    network were off, the larger error stays.

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
        if joined.transfer is not None or table.transfer is not None:
            raise TableError(
                f"{first if joined.transfer else place} was transferred from another device's table and answers for "
                "one network alone; keep it apart, or measure the device: amc-hw profile without like="
            )
        if (result.totals is None) != (table.totals is None):
            raise TableError(
                f"{first} and {place} do not belong together: one was learned from the totals of whole networks, the "
                "other measured operator by operator; keep them apart."
            )
        if result.totals is not None and table.totals is not None:
            _join_totals(result, result.totals, table.totals)
        elif set(result.sources) & set(table.sources):
            result.entries = _of_more_samples(result.entries, table.entries)
        else:
            known = set(result.entries)
            result.add(entry for entry in table.entries if entry not in known)
        if result.totals is None:
            _join_calibration(result, table)
        result.notes += [note for note in table.notes if note not in result.notes]
        result.format = min(result.format, table.format)
        if new := [source for source in table.sources if source not in result.sources]:
            result.origins = [*result.sources, *new]
        result.created = min(result.created, table.created)
        result.version = result.version if result.version == table.version else ""
        if table.method not in result.method:
            result.method = f"{result.method}; {table.method}"
    return result


def _join_calibration(result: LatencyTable, table: LatencyTable) -> None:
    """Add another table's whole networks, and the larger of their errors."""
    result.calibration += [network for network in table.calibration if network not in result.calibration]
    for structure, error in table.errors.items():
        before = result.errors.get(structure, error)
        result.errors[structure] = max(before, error, key=lambda known: known.mean)


def _join_totals(result: LatencyTable, ours: Totals, theirs: Totals) -> None:
    """Learn a table again from the networks of two; one that both have counts once."""
    more = [network for network in theirs.networks if network not in ours.networks]
    learn_table(result, Totals(families={**ours.families, **theirs.families}, networks=[*ours.networks, *more]))


def _of_more_samples(entries: Iterable[Entry], others: Iterable[Entry]) -> list[Entry]:
    """Return one entry for each operator: a steady one, or else that of more samples."""
    kept: dict[tuple[str, int, int], Entry] = {}
    for entry in (*entries, *others):
        kept[entry.key] = max(kept.get(entry.key, entry), entry, key=lambda known: (not known.unstable, known.count))
    return list(kept.values())
