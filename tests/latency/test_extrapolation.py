"""Operators that were never measured are predicted from others of their kind, and the distance is told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amc_hw.errors import TableError
from amc_hw.latency.extrapolation import Extrapolation
from amc_hw.latency.families import sizes
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.table import CalibrationNetwork, Entry, LatencyTable
from amc_hw.latency.trust import inferred, warnings

SIDES = (8, 16, 32)


def family(side: int) -> str:
    return f"CONV_2D 1x{side}x{side}xC,1x{side}x{side}xC k=1x1 s=1 pad=same"


def formula_us(side: int, c_in: int, c_out: int) -> float:
    size = sizes(family(side), c_in, math.ceil(c_out / 8) * 8)
    return 3 + size.macs / 5000 + size.inputs / 2000 + size.weights / 1000


def entry(side: int, c_in: int, c_out: int, factor: float = 1.0) -> Entry:
    return Entry.of(family(side), c_in, c_out, [factor * formula_us(side, c_in, c_out)] * 4)


def operator(side: int, c_in: int, c_out: int) -> Operator:
    shape = (1, side, side)
    return Operator("CONV_2D", ("k=1x1", "s=1", "pad=same"), ((*shape, c_in),), ((*shape, c_out),), c_in)


def table(entries: list[Entry], delegate: str = "none") -> LatencyTable:
    fingerprint = Fingerprint(
        device="d",
        processor="p",
        system="s",
        runtime="r",
        runtime_version="1",
        threads=1,
        cores="any",
        delegate=delegate,
    )
    return LatencyTable(fingerprint=fingerprint, created="2026-01-01T00:00:00+00:00", method="m", entries=entries)


@pytest.fixture
def measured() -> list[Entry]:
    random = np.random.default_rng(0)
    return [entry(side, *map(int, random.integers(8, 64, 2))) for side in SIDES for _ in range(6)]


def test_other_shapes_are_predicted_from_the_kind(measured: list[Entry]) -> None:
    model = Extrapolation(measured)
    for side, c_in, c_out in ((24, 20, 40), (24, 33, 17), (12, 60, 60)):
        predicted = model.predict_us(family(side), np.array([c_in]), np.array([c_out]))[0]
        assert predicted == pytest.approx(formula_us(side, c_in, c_out), rel=0.05)
    assert model.error(family(24)) == pytest.approx(0, abs=0.05)


def test_what_was_measured_is_answered_as_measured(measured: list[Entry]) -> None:
    odd = entry(16, 40, 40, factor=1.5)  # a cache that overflows at this shape
    predictor = Predictor(table([*measured, odd]))
    assert predictor.operators_ms([operator(16, 40, 40)])[0] == pytest.approx(odd.mean_us / 1e3)
    # ... and its neighbours in that shape are slower, too, the more so the nearer they are
    slower = [predictor.operators_ms([operator(16, c, c)])[0] * 1e3 / formula_us(16, c, c) for c in (41, 48, 63)]
    assert slower[0] > slower[1] > 1


def test_reach_tells_how_far_outside(measured: list[Entry]) -> None:
    model = Extrapolation([entry(8, 16, 16), entry(16, 16, 16)])
    assert model.reach(family(8), 16, 16) == 1
    assert model.reach(family(32), 16, 16) == pytest.approx(4)  # four times the positions
    assert model.reach(family(8), 4, 16) == pytest.approx(4)  # a quarter of the weights


def test_warnings_say_what_is_inferred_and_what_is_missing(measured: list[Entry]) -> None:
    predictor = Predictor(table(measured))
    known, foreign = operator(16, 16, 16), operator(64, 16, 16)
    add = Operator("ADD", (), ((1, 8, 8, 16), (1, 8, 8, 16)), ((1, 8, 8, 16),))
    assert warnings(predictor, [known]) == []
    (kind,) = inferred(predictor, [known, foreign])
    assert (kind.kind, kind.operators) == ("CONV_2D", 1)
    assert kind.reach > 1
    assert kind.share > 0.5
    told = warnings(predictor, [known, foreign, add])
    assert len(told) == 2
    assert "1 CONV_2D operators" in told[0]
    assert "1 ADD" in told[1]
    narrow = warnings(predictor, [known], [operator(16, 2, 16)])[0]
    assert "2 to 16 channels" in narrow


def test_measured_networks_need_no_warning(measured: list[Entry]) -> None:
    made = table(measured)
    operators = [operator(16, 16, 16), Operator("PAD", (), ((1, 8, 8, 3),), ((1, 10, 10, 3),))]
    made.calibration = [
        CalibrationNetwork(structure=structure_of(operators), model="n", operators_ms=1.0, measured_ms=1.0)
    ]
    assert warnings(Predictor(made), operators) == []


def test_unknown_kind_with_a_filter_is_refused(measured: list[Entry]) -> None:
    depthwise = Operator("DEPTHWISE_CONV_2D", ("k=3x3", "s=1"), ((1, 8, 8, 4),), ((1, 8, 8, 4),), 9)
    with pytest.raises(TableError, match="DEPTHWISE_CONV_2D"):
        Predictor(table(measured)).operators_ms([depthwise])


def test_a_delegate_fuses_what_it_has_no_time_for(measured: list[Entry]) -> None:
    def add(side: int) -> Operator:
        return Operator("ADD", (), ((1, side, side, 8),) * 2, ((1, side, side, 8),))

    entries = [*measured, Entry.of(add(8).family, 8, 8, [5.0])]
    assert Predictor(table(entries, "xnnpack")).operators_ms([add(16)]) == [0.0]
    assert Predictor(table(entries, "none")).operators_ms([add(16)])[0] > 0
