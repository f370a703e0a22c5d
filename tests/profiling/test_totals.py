"""A latency table from the times of whole networks alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from black_box import BlackBox, share_us
from simulated_device import SimulatedDevice

from amc_hw.errors import DeviceError, TableError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.merge import merge
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.latency.table import LatencyTable
from amc_hw.profiling.check import check_table
from amc_hw.profiling.design import choose, draw_candidates
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.plan import draw_policy
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel


def measure(device: SimulatedDevice, traced: TracedModel, template: GraphTemplate, path: Path) -> LatencyTable:
    return measure_table(device, traced, template, path, 0, SILENT)


@pytest.mark.parametrize("tile", [1, 8, 16])
def test_staircase_and_shares_are_found_from_whole_networks(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, tile: int
) -> None:
    table = measure(BlackBox(tile, noise=0.005), traced, template, tmp_path / "table.json")
    predictor, random = Predictor(table), np.random.default_rng(1)
    drawn = [template.operators(draw_policy(traced.choices, random)) for _ in range(40)]
    true = np.array([[share_us(operator, tile) for operator in operators] for operators in drawn])
    told = 1e3 * np.array([predictor.operators_ms(operators) for operators in drawn])
    # What no channel count changes belongs to the network's constant as well as to an operator.
    true, told = true - true.mean(axis=0), told - told.mean(axis=0)
    assert np.abs(told - true).sum() < 0.15 * np.abs(true).sum()
    largest = max(table.entries, key=lambda entry: entry.mean_us)
    surface = predictor.surface(largest.family)
    assert surface is not None
    assert surface.tile == tile


def test_error_on_networks_left_out_is_that_on_networks_never_measured(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amc_hw.profiling.profile.template_for", lambda *trained: template)
    path = tmp_path / "table.json"
    table = measure(BlackBox(noise=0.01), traced, template, path)
    checked = check_table(BlackBox(), traced, path, 20, 1, SILENT)
    (error,) = table.errors.values()
    assert checked.mean_error < 0.02
    assert checked.worst_error < 0.06
    assert checked.mean_error < 2 * error.mean + 0.005
    assert error.networks == len(table.calibration) <= BlackBox.effort.totals


def test_what_no_formula_has_is_learned_from_whole_networks(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cached(BlackBox):
        def _operators(self, file: Path) -> list[Operator]:
            """Many channels overflow a cache, and odd tiles take longer."""
            found = super()._operators(file)
            times = [(1 + 0.3 * (each.c_out > 20)) * (1 + 0.2 * (each.c_out % 16 > 0)) for each in found]
            return [replace(each, fan_in=each.fan_in * much) for each, much in zip(found, times, strict=True)]

    monkeypatch.setattr("amc_hw.profiling.profile.template_for", lambda *trained: template)
    path = tmp_path / "table.json"
    table = measure(Cached(1), traced, template, path)
    assert table.totals is not None
    assert table.totals.deviations is not None
    checked = check_table(Cached(1), traced, path, 30, 1, SILENT)
    (error,) = table.errors.values()
    assert checked.mean_error < 1.5 * error.mean + 0.005
    table.totals = table.totals.model_copy(update={"deviations": None})
    formulas = Predictor(table)
    off = [
        abs(formulas.network_ms(template.operators(network.channels)) / network.measured_ms - 1)
        for network in checked.networks
    ]
    assert checked.mean_error < 0.7 * np.mean(off)


def test_what_is_fused_costs_nothing(traced: TracedModel, template: GraphTemplate, tmp_path: Path) -> None:
    predictor = Predictor(measure(BlackBox(), traced, template, tmp_path / "table.json"))
    operators = template.operators(traced.network.original)
    times = predictor.operators_ms(operators)
    fused = sum(ms for operator, ms in zip(operators, times, strict=True) if not operator.fan_in)
    assert fused < 0.03 * sum(times)


def test_second_time_no_network_is_timed_again_and_the_file_says_that_it_was_learned(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    path, device = tmp_path / "table.json", BlackBox()
    first = measure(BlackBox(), traced, template, path)
    assert measure(device, traced, template, path) == first == load_table(path)
    assert device.timed_models == 0
    assert first.format == 3
    assert first.method.startswith("learned from totals")


def test_tables_of_operators_keep_the_format_that_older_versions_read(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    path = tmp_path / "table.json"
    assert measure(SimulatedDevice(), traced, template, path).format == 2
    assert '"totals"' not in path.read_text()


def test_networks_that_were_timed_survive_a_lost_device(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amc_hw.profiling.totals.ENOUGH", 0.0)

    class Unplugged(BlackBox):
        def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
            if self.timed_models == 70:
                raise DeviceError("the cable is out.")
            return super().time_model(file, warmup=warmup, runs=runs)

    path = tmp_path / "table.json"
    with pytest.raises(DeviceError, match="cable"):
        measure(Unplugged(noise=0.1), traced, template, path)
    kept = load_table(path).totals
    assert kept is not None
    whole = measure(BlackBox(), traced, template, path).totals
    assert whole is not None
    assert whole.networks[: len(kept.networks)] == kept.networks


def test_merged_totals_are_learned_again_and_never_joined_with_operators_times(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    one = measure(BlackBox(), traced, template, tmp_path / "one.json")
    again = merge({"one": one, "copy": one.model_copy(deep=True)})
    assert again.totals == one.totals
    assert again.errors == one.errors

    class Telling(SimulatedDevice):
        def fingerprint(self):
            return BlackBox().fingerprint()

    operators = measure(Telling(), traced, template, tmp_path / "operators.json")
    with pytest.raises(TableError, match="learned from the totals"):
        merge({"one": one, "operators": operators})


def test_a_damaged_total_is_refused(traced: TracedModel, template: GraphTemplate, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measure(BlackBox(), traced, template, path)
    path.write_text(path.read_text().replace('"tile_out": 8', '"tile_out": 0'))
    with pytest.raises(TableError, match="tile_out"):
        load_table(path)


def test_chosen_networks_tell_more_than_drawn_ones(traced: TracedModel, template: GraphTemplate) -> None:
    random = np.random.default_rng(0)
    networks = [
        [(operator.family, operator.c_in, operator.c_out) for operator in template.operators(policy)]
        for policy in draw_candidates(traced.choices, random)
    ]
    chosen = choose(networks, [], 6)
    assert len(set(chosen)) == 6
    again = choose(networks, [networks[index] for index in chosen[:3]], 3)  # a network may be drawn twice
    assert [networks[index] for index in again] == [networks[index] for index in chosen[3:]]
