"""The check finds out how far a table is off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import TINY
from simulated_device import SimulatedDevice
from torch import nn

from amc_hw.devices import turns
from amc_hw.devices.base import Kernel
from amc_hw.devices.table_only import TableOnly
from amc_hw.errors import DeviceError, TableError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.models.resnet import BasicBlock
from amc_hw.pipeline import compress, job, search_and_verify, tables
from amc_hw.profiling.check import check_table, draw_ratios
from amc_hw.profiling.measure import measure_table
from amc_hw.runs.config import make_config
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel, trace_model


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
    measure_table(SimulatedDevice(overhead=1.05), traced, template, path, 0, SILENT)
    good = check_table(SimulatedDevice(overhead=1.05), traced, path, 6, 1, SILENT)
    assert len(good.networks) == 6
    assert good.mean_error <= good.worst_error < 0.05
    assert good.rank_correlation is not None
    assert good.rank_correlation > 0.9
    assert good.repeatability is not None
    assert good.repeatability > 0.9
    # A device that has become a fifth slower since: the check must say so.
    slower = check_table(SimulatedDevice(overhead=1.26), traced, path, 6, 1, SILENT)
    assert slower.bias == pytest.approx(1.05 / 1.26 - 1, abs=0.03)
    assert good.drift == pytest.approx(0, abs=0.03)
    assert slower.drift == pytest.approx(1.26 / 1.05 - 1, abs=0.03)
    steady = slower.at_speed_of_table()
    assert steady is not None
    assert steady.mean_error <= steady.worst_error < 0.05
    assert [n.channels for n in slower.networks] == [n.channels for n in good.networks]
    with pytest.raises(DeviceError, match="connect the device"):
        check_table(TableOnly("simulated", path), traced, path, 6, 1, SILENT)


class Watched(SimulatedDevice):
    """Its profiler takes as long as a small operator, in each of them."""

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        kernels = super().time_kernels(file, warmup=warmup, runs=runs)
        return [Kernel(kernel.name, tuple(10.0 + np.array(kernel.samples_us))) for kernel in kernels]


def test_blocks_are_left_out_and_what_the_profiler_took_in_them_goes_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())
    blocks = (BasicBlock(16, 16, 1, residual=True) for _ in range(4))
    model = nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    checked = check_table(Watched(), trace_model(model, (3, 16, 16)), tmp_path / "t.json", 8, 1, SILENT)
    gone = [sum(count == 0 for count in network.channels.values()) for network in checked.networks]
    assert gone[0] == 0
    assert max(gone) > 1
    assert checked.worst_error < 0.03


def test_a_table_of_something_else_is_refused_before_any_work(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pinned(SimulatedDevice):
        def fingerprint(self) -> Fingerprint:
            return super().fingerprint().model_copy(update={"cores": "0"})

    def working(*_: object) -> None:
        raise AssertionError("the refusal came after work")

    table, run = tmp_path / "table.json", tmp_path / "run"
    measure_table(SimulatedDevice(), traced, template, table, 0, SILENT)
    monkeypatch.setattr(turns, "open_or_predict", lambda *named: Pinned())
    for room, work in ((job, "begin"), (tables, "trace_example")):
        monkeypatch.setattr(room, work, working)
    config = make_config(model=TINY, data="digits", table=str(table))
    for step in (search_and_verify.search_on_device, compress.compress):
        with pytest.raises(TableError, match=r"cores: any, 0\); name another table="):
            step(run, config, SILENT)
    asked = tables.AskedTable(TINY, "host", table, 32, 10)
    with pytest.raises(TableError, match="name another table="):
        tables.profile_model(asked, 0, SILENT)
    with pytest.raises(TableError, match="name another table="):
        tables.check_predictions(asked, 2, 0, SILENT)
    run.mkdir(exist_ok=True)
    (run / "table.json").write_bytes(table.read_bytes())
    with pytest.raises(TableError, match="begin another run= here"):
        search_and_verify.search_on_device(run, make_config(model=TINY, data="digits"), SILENT)
