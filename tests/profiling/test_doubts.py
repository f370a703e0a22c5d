"""What a run says of its table before it relies on it, and of the speed that its device has now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from simulated_device import SimulatedDevice

from amc_hw.devices.table_only import TableOnly
from amc_hw.formats.graph import GraphTemplate
from amc_hw.profiling.doubts import doubts_of_table
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.speed import speed_of
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.runs.speed import Speed
from amc_hw.tracing.traced import TracedModel


@pytest.fixture
def run(traced: TracedModel, template: GraphTemplate, tmp_path: Path) -> RunFolder:
    """A run folder with a table of the simulated device."""
    run = RunFolder(tmp_path / "my run")
    measure_table(SimulatedDevice(), traced, template, run.table, 0, SILENT)
    return run


def test_a_run_says_before_it_starts_that_its_table_is_not_of_this_speed(
    run: RunFolder, traced: TracedModel, template: GraphTemplate
) -> None:
    def told(device: SimulatedDevice | TableOnly, model: TracedModel = traced, *, in_ms: bool = False) -> list[str]:
        run.speed.path.unlink(missing_ok=True)
        speed_of(run, device, model, template, SILENT)
        return doubts_of_table(run, device, model, template, in_ms=in_ms)

    assert told(SimulatedDevice(overhead=1.05 * 1.04)) == []
    (slower,) = told(SimulatedDevice(overhead=1.26))
    assert "(+20.0%)" in slower
    assert "predicted milliseconds are off by as much, shares of the original's latency are not" in slower
    assert "all that the table predicts is taken times 1.2." in told(SimulatedDevice(overhead=1.26), in_ms=True)[0]
    assert "-16.7%" in told(SimulatedDevice(overhead=1.05 / 1.2))[0]
    other = replace(traced, name="another name")
    assert "by the table's prediction (+20" in told(SimulatedDevice(overhead=1.26), other)[0]
    assert told(SimulatedDevice(noise=0.1)) == []
    assert told(TableOnly("board", run.table)) == []


def test_the_speed_that_a_search_began_with_stays(run: RunFolder, traced: TracedModel, template: GraphTemplate) -> None:
    first = speed_of(run, SimulatedDevice(overhead=1.26), traced, template, SILENT)
    assert first is not None
    assert first.slower == pytest.approx(1.2, rel=1e-3)
    assert speed_of(run, SimulatedDevice(), traced, template, SILENT) == first == run.speed.read()
    assert isinstance(first, Speed)


def test_a_run_says_before_it_starts_that_its_table_is_of_other_files(
    run: RunFolder, traced: TracedModel, template: GraphTemplate
) -> None:
    def told(device: SimulatedDevice | TableOnly) -> list[str]:
        return doubts_of_table(run, device, traced, template)

    table = measure_table(SimulatedDevice(), traced, template, run.table, 0, SILENT)
    assert told(SimulatedDevice()) == []
    for version, maker in (("0.0.1", "amc-hw 0.0.1"), ("", "an older version of amc-hw")):
        table.model_copy(update={"version": version}).save(run.table)
        (older,) = told(SimulatedDevice())
        assert f"was made by {maker}" in older
        assert f"run='{run}-again' and table='{run}-again.json'" in older
    several = RunFolder(run.path / "several")
    (older,) = doubts_of_table(run, SimulatedDevice(), traced, template, again=several)
    assert f"the table of {SimulatedDevice().name}, and do the same with run='{several}-again'" in older
    other = [network.model_copy(update={"structure": "abc"}) for network in table.calibration]
    table.model_copy(update={"calibration": other}).save(run.table)
    assert "measured from other files" in told(SimulatedDevice())[0]
    assert told(TableOnly("board", run.table)) == []


def test_a_device_that_is_slow_for_a_second_is_looked_at_again(
    run: RunFolder, traced: TracedModel, template: GraphTemplate
) -> None:
    class SlowAtFirst(SimulatedDevice):
        visits = 0

        def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
            self.visits += 1
            return [
                (3 if self.visits <= 15 else 1) * sample for sample in super().time_model(file, warmup=0, runs=runs)
            ]

    found = speed_of(run, SlowAtFirst(), traced, template, SILENT)
    assert found is not None
    assert found.slower == pytest.approx(1.0)
