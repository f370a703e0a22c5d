"""The check finds out how far a table is off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated_device import SimulatedDevice

from amc_hw.devices.table_only import TableOnly
from amc_hw.errors import DeviceError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.profiling.check import check_table, draw_ratios
from amc_hw.profiling.measure import measure_table
from amc_hw.runs.progress import SILENT
from amc_hw.trace.traced import TracedModel


def test_ratios_are_drawn_evenly_between_a_fifth_and_all() -> None:
    choices = {"a": tuple(range(20, 101, 2)), "b": (8, 16)}
    random = np.random.default_rng(0)
    drawn = [draw_ratios(choices, random) for _ in range(400)]
    ratios = np.array([policy["a"] / 100 for policy in drawn])
    assert all(policy["a"] in choices["a"] and policy["b"] in choices["b"] for policy in drawn)
    assert ratios.mean() == pytest.approx(0.6, abs=0.03)
    assert (ratios.min(), ratios.max()) == pytest.approx((0.2, 1.0), abs=0.02)
    assert draw_ratios(choices, np.random.default_rng(0)) == drawn[0]


def test_a_table_is_held_against_its_device(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amc_hw.profiling.profile.template_for", lambda *trained: template)
    path = tmp_path / "simulated.json"
    measure_table(SimulatedDevice(overhead=1.05), template, traced.choices, "tiny", path, 0, SILENT)
    good = check_table(SimulatedDevice(overhead=1.05), traced, "tiny", path, 6, 1, False, SILENT)
    assert len(good.networks) == 6
    assert good.mean_error <= good.worst_error < 0.05
    assert good.rank_correlation is not None
    assert good.rank_correlation > 0.9
    assert good.repeatability is not None
    assert good.repeatability > 0.9
    # A device that has become a fifth slower since: the check must say so.
    slower = check_table(SimulatedDevice(overhead=1.26), traced, "tiny", path, 6, 1, False, SILENT)
    assert slower.bias == pytest.approx(1.05 / 1.26 - 1, abs=0.03)
    assert good.drift == pytest.approx(0, abs=0.03)
    assert slower.drift == pytest.approx(1.26 / 1.05 - 1, abs=0.03)
    steady = slower.at_speed_of_table()
    assert steady is not None
    assert steady.mean_error <= steady.worst_error < 0.05
    assert [n.channels for n in slower.networks] == [n.channels for n in good.networks]
    with pytest.raises(DeviceError, match="connect the device"):
        check_table(TableOnly("simulated", path), traced, "tiny", path, 6, 1, False, SILENT)
