"""Two tables side by side, of one device or of two."""

from __future__ import annotations

import pytest

from amc_hw.latency.diff import diff
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.table import Entry, LatencyTable

CONV = "CONV_2D 1x8x8xC,1x8x8xC k=1x1 s=1 pad=same"
ADD = "ADD 1x8x8xC,1x8x8xC,1x8x8xC"


def table(entries: list[Entry], threads: int = 1) -> LatencyTable:
    fingerprint = Fingerprint(
        device="d", processor="p", system="s", runtime="r", runtime_version="1", threads=threads, cores="0",
        delegate="none",
    )  # fmt: skip
    return LatencyTable(fingerprint=fingerprint, created="2026-01-01", method="m", entries=entries)


def test_ratios_are_second_over_first_by_kind() -> None:
    first = table([Entry.of(CONV, c, c, [c * 1.0]) for c in (8, 16, 32)] + [Entry.of(ADD, 8, 8, [4.0])])
    second = table(
        [Entry.of(CONV, c, c, [c * factor]) for c, factor in ((8, 0.5), (16, 0.6), (32, 0.8))]
        + [Entry.of(ADD, 8, 8, [8.0]), Entry.of("MEAN 1x8x8xC,1xC", 8, 8, [1.0])],
        threads=2,
    )
    found = diff(first, second)
    assert found.fields == ("threads: 1, 2",)
    ratios = {r.kind: r for r in found.ratios}
    assert (ratios["CONV_2D"].median, ratios["CONV_2D"].lowest, ratios["CONV_2D"].highest) == pytest.approx(
        (0.6, 0.5, 0.8)
    )
    assert ratios["ADD"].median == 2.0
    assert (ratios["all"].entries, found.exact) == (4, 4)
    assert found.only_second == ("MEAN 1x8x8xC,1xC",)
    assert found.only_first == ()


def test_entries_at_other_channels_are_held_against_the_prediction() -> None:
    first = table([Entry.of(CONV, c, 2 * c, [10.0 + 0.1 * c * c]) for c in range(8, 40)])
    second = table([Entry.of(CONV, 20, 41, [2 * (10.0 + 0.05 * 20 * 41)]), Entry.of(CONV, 99, 99, [1e3])])
    found = diff(first, second)
    assert found.exact == 0
    assert found.ratios[0].entries == 1  # 99 channels lie outside of what the first has measured
    assert found.ratios[0].median == pytest.approx(2.0, rel=0.1)


def test_operators_of_the_same_work_are_compared_whichever_exporter_named_them() -> None:
    valid = CONV.replace("pad=same", "pad=valid act=relu")
    found = diff(table([Entry.of(CONV, 8, 8, [3.0])]), table([Entry.of(valid, 8, 8, [6.0])]))
    assert (found.exact, found.ratios[0].median, found.only_first, found.only_second) == (1, 2.0, (), ())
    both = table([Entry.of(CONV, 8, 8, [3.0]), Entry.of(valid, 8, 8, [6.0])])
    assert [(r.lowest, r.highest) for r in diff(both, both).ratios] == [(1.0, 1.0)] * 2


def test_a_table_equals_itself_and_strangers_have_nothing_in_common() -> None:
    one = table([Entry.of(CONV, 8, 8, [3.0])])
    same = diff(one, one)
    assert (same.fields, same.ratios[0].median, same.exact) == ((), 1.0, 1)
    assert diff(one, table([Entry.of(ADD, 8, 8, [3.0])])).ratios == ()
