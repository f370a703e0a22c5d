"""What ties the sum of a network's operators to the clock."""

from __future__ import annotations

import pytest

from amc_hw.latency.prediction import fit_calibration
from amc_hw.latency.table import CalibrationNetwork


def networks(*pairs: tuple[float, float]) -> list[CalibrationNetwork]:
    return [CalibrationNetwork(structure="s", model="m", operators_ms=x, measured_ms=y) for x, y in pairs]


@pytest.mark.parametrize("constant", [0.3, 0.0, -0.4])
def test_a_line_is_found(constant: float) -> None:
    found = fit_calibration(networks(*((x, 1.1 * x + constant) for x in (1.0, 2.0, 5.0, 9.0))))
    assert (found.slope, found.constant_ms) == (pytest.approx(1.1), pytest.approx(constant, abs=1e-9))


def test_networks_of_like_size_have_no_constant() -> None:
    found = fit_calibration(networks(*((x, 1.1 * x - 0.2) for x in (2.0, 2.1, 2.2, 2.3))))
    assert found.constant_ms == 0
    assert found(2.15) == pytest.approx(1.1 * 2.15 - 0.2, rel=0.01)


def test_a_line_that_leaves_nothing_of_small_networks_is_not_believed() -> None:
    found = fit_calibration(networks(*((x, 1.1 * x - 0.7) for x in (1.0, 2.0, 5.0, 9.0))))
    assert found.constant_ms == 0
    assert found(1.0) > 0.8
