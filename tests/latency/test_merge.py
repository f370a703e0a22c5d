"""Tables that belong together are joined; others are refused with the field that keeps them apart."""

from __future__ import annotations

import pytest

from amc_hw.errors import TableError, UsageError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.merge import merge
from amc_hw.latency.table import CalibrationNetwork, Entry, LatencyTable, PredictionError

CONV = "CONV_2D 1x8x8xC,1x8x8xC k=1x1 s=1 pad=same"


def table(*entries: Entry, threads: int = 1, created: str = "2026-01-02", mean: float = 0.01) -> LatencyTable:
    return LatencyTable(
        fingerprint=Fingerprint(
            device="d", processor="p", system="s", runtime="r", runtime_version="1", threads=threads, cores="0",
            delegate="none",
        ),
        created=created,
        method="timed",
        entries=list(entries),
        calibration=[CalibrationNetwork(structure="abc", model="n", operators_ms=1.0, measured_ms=1.0 + mean)],
        errors={"abc": PredictionError(networks=1, mean=mean, worst=mean)},
        notes=["shared", f"of {created}"],
    )  # fmt: skip


def entry(c: int, time: float, samples: int = 4) -> Entry:
    return Entry.of(CONV, c, c, [time] * samples)


def test_entries_are_joined_by_their_samples() -> None:
    first = table(entry(8, 10.0), entry(16, 20.0))
    second = table(entry(8, 16.0, samples=8), entry(24, 30.0), created="2026-01-01", mean=0.02)
    joined = merge({"a": first, "b": second})
    times = {e.c_in: (e.count, e.mean_us) for e in joined.entries}
    assert times == {8: (12, pytest.approx(14.0)), 16: (4, 20.0), 24: (4, 30.0)}
    assert joined.created == "2026-01-01"
    assert joined.errors["abc"].mean == 0.02
    assert len(joined.calibration) == 2
    assert joined.notes == ["shared", "of 2026-01-02", "of 2026-01-01"]
    assert joined.method == "timed"
    assert {e.c_in for e in first.entries} == {8, 16}  # the originals stay as they were


def test_the_same_measurement_counts_once() -> None:
    one = table(entry(8, 10.0))
    assert merge({"a": one, "b": one}) == one


def test_samples_that_both_tables_hold_count_once() -> None:
    monday = table(entry(8, 10.0), entry(16, 20.0))
    tuesday = monday.model_copy(deep=True)  # a copy of Monday's that was measured on
    tuesday.add([entry(8, 16.0, samples=8), entry(24, 30.0)])
    for files in ({"a": monday, "b": tuesday}, {"b": tuesday, "a": monday}):
        counts = {e.c_in: (e.count, e.mean_us) for e in merge(files).entries}
        assert counts == {8: (12, pytest.approx(14.0)), 16: (4, 20.0), 24: (4, 30.0)}
    other = table(entry(8, 30.0, samples=4), created="2026-01-03")
    joined = merge({"b": tuesday, "c": other})
    assert next(e.count for e in joined.entries if e.c_in == 8) == 16
    for again in (merge({"bc": joined, "c": other}), merge({"a": monday, "bc": joined})):
        assert {e.key: e for e in again.entries} == {e.key: e for e in joined.entries}


def test_of_the_same_samples_steady_ones_stay() -> None:
    spoiled = Entry.of(CONV, 8, 8, [10.0] * 12, unstable=True)
    assert merge({"a": table(spoiled), "b": table(entry(8, 9.0))}).entries == [entry(8, 9.0)]


def test_other_fingerprints_are_refused_by_field() -> None:
    with pytest.raises(TableError, match=r"a and b .*threads: 1, 2"):
        merge({"a": table(entry(8, 10.0)), "b": table(entry(8, 10.0), threads=2)})
    with pytest.raises(UsageError, match="two"):
        merge({"a": table(entry(8, 10.0))})
