"""What ties the sum of a network's operators to the clock."""

from __future__ import annotations

import numpy as np
import pytest

from amc_hw.latency.prediction import Calibration, fit_calibration
from amc_hw.latency.table import CalibrationNetwork


def networks(*pairs: tuple[float, float]) -> list[CalibrationNetwork]:
    return [CalibrationNetwork(structure="s", model="m", operators_ms=x, measured_ms=y) for x, y in pairs]


@pytest.mark.parametrize("constant", [0.3, 0.0, -0.4, -0.9])
def test_a_line_is_found(constant: float) -> None:
    found = fit_calibration(networks(*((x, 1.1 * x + constant) for x in (1.0, 2.0, 5.0, 9.0))))
    assert (found.slope, found.constant_ms) == (pytest.approx(1.1), pytest.approx(constant, abs=1e-9))


def test_operators_that_are_mostly_the_profilers_own_time_are_no_networks_of_like_size() -> None:
    found = fit_calibration(networks(*((x, 1.1 * x - 2.0) for x in (2.0, 2.1, 2.2, 2.3))))
    assert (found.slope, found.constant_ms) == (pytest.approx(1.1), pytest.approx(-2.0))


def test_networks_of_like_size_have_no_constant() -> None:
    found = fit_calibration(networks(*((x, 1.1 * x - 0.2) for x in (2.0, 2.1, 2.2, 2.3))))
    assert found.constant_ms == 0
    assert found(2.15) == pytest.approx(1.1 * 2.15 - 0.2, rel=0.01)


def test_what_noise_makes_of_a_slope_is_no_constant() -> None:
    random = np.random.default_rng(0)
    sizes = np.linspace(1.0, 3.0, 12)
    noisy = networks(*zip(sizes, 0.9 * sizes * random.normal(1, 0.02, 12), strict=True))
    assert fit_calibration(noisy).constant_ms == 0


def test_what_the_profiler_takes_is_taken_off_every_operator() -> None:
    found = Calibration(1.1, -0.4)
    assert (found.start_ms, found.overhead_ms(200)) == (0, pytest.approx(0.002))
    assert (Calibration(1.1, 0.4).start_ms, Calibration(1.1, 0.4).overhead_ms(200)) == (0.4, 0)
