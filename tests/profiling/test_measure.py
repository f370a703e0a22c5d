from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from simulated_device import SimulatedDevice

from amc_hw.devices.base import Times
from amc_hw.errors import DeviceError, TableError, UsageError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.profiling.benchmark import MOST_REPEATS, benchmark, write_logs
from amc_hw.profiling.latency_cost import latency_cost
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.plan import draw_policy
from amc_hw.profiling.profile import run_cost
from amc_hw.profiling.protocol import Protocol
from amc_hw.profiling.timing import STEADY, Timing
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel


def measure(device: SimulatedDevice, traced: TracedModel, template: GraphTemplate, path: Path):
    return measure_table(device, traced, template, path, 0, SILENT)


def test_prediction_is_close_on_networks_never_measured(traced: TracedModel, template: GraphTemplate, tmp_path) -> None:
    device = SimulatedDevice(overhead=1.07, noise=0.02)
    table = measure(device, traced, template, tmp_path / "table.json")
    cost = latency_cost(template, Predictor(table), traced.choices)
    random = np.random.default_rng(99)
    file, errors = tmp_path / "n.tflite", []
    for _ in range(20):
        policy = draw_policy(traced.choices, random)
        file.write_bytes(template.file(policy, random))
        measured = np.mean(device.time_model(file, warmup=0, runs=20)) / 1e3
        errors.append(abs(cost(policy) / measured - 1))
    assert np.mean(errors) < 0.03
    assert max(errors) < 0.08
    assert [error.mean < 0.03 for error in table.errors.values()] == [True]
    networks = [template.operators(draw_policy(traced.choices, random)) for _ in range(3)]
    predictor = Predictor(table)
    assert predictor.sums_ms(networks) == pytest.approx([sum(predictor.operators_ms(each)) for each in networks])


def test_second_time_nothing_is_measured_again(traced: TracedModel, template: GraphTemplate, tmp_path) -> None:
    path = tmp_path / "table.json"
    first = measure(SimulatedDevice(), traced, template, path)
    device = SimulatedDevice()
    second = measure(device, traced, template, path)
    assert device.timed_files == 0
    assert second == first == load_table(path)


def test_a_table_that_was_measured_in_wrong_files_is_named_before_the_search(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    class Litert(SimulatedDevice):
        def fingerprint(self) -> Fingerprint:
            return super().fingerprint().model_copy(update={"runtime": "litert"})

    monkeypatch.setattr("amc_hw.profiling.profile.template_for", lambda *trained: template)
    for number, told in ((2, 0), (1, 1)):
        table = measure(Litert(), traced, template, tmp_path / "cache.json")
        table.format = number
        table.save(tmp_path / "cache.json")
        run = tmp_path / f"run of {number}"
        for _ in ("started", "gone on with"):
            caplog.clear()
            run_cost(RunFolder(run), Litert(), traced, tmp_path / "cache.json", 0, SILENT)
            assert [str(tmp_path / "cache.json") in message for message in caplog.messages] == [True] * told


def test_what_was_measured_survives_a_lost_device(traced: TracedModel, template: GraphTemplate, tmp_path) -> None:
    path = tmp_path / "table.json"

    class Unplugged(SimulatedDevice):
        def time_kernels(self, file: Path, *, warmup: int, runs: int):
            if self.timed_files == 5:
                raise DeviceError("the cable is out.")
            return super().time_kernels(file, warmup=warmup, runs=runs)

    with pytest.raises(DeviceError, match="cable"):
        measure(Unplugged(), traced, template, path)
    kept = load_table(path)
    assert kept.entries
    whole = measure(SimulatedDevice(), traced, template, path)
    assert {entry.key for entry in kept.entries} <= {entry.key for entry in whole.entries}


def test_table_of_another_device_is_refused_and_kept(traced: TracedModel, template: GraphTemplate, tmp_path) -> None:
    path = tmp_path / "table.json"
    measure(SimulatedDevice(), traced, template, path)
    before = path.read_bytes()

    class Newer(SimulatedDevice):
        def fingerprint(self):
            return super().fingerprint().model_copy(update={"runtime_version": "2"})

    with pytest.raises(TableError, match="runtime_version: 1, 2"):
        measure(Newer(), traced, template, path)
    assert path.read_bytes() == before


def test_busy_machine_is_noticed(traced: TracedModel, template: GraphTemplate, tmp_path) -> None:
    table = measure(SimulatedDevice(noise=0.5), traced, template, tmp_path / "table.json")
    assert any("busy" in note for note in table.notes)
    assert any(entry.unstable for entry in table.entries)


def test_what_a_busy_machine_spoiled_is_measured_again_on_demand(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    path, quiet = tmp_path / "table.json", SimulatedDevice()
    measure(SimulatedDevice(noise=1.5), traced, template, path)
    assert sum("amc-hw profile measures these again" in note for note in load_table(path).notes) == 2
    measure(quiet, traced, template, path)
    assert quiet.timed_files == 0
    table = measure_table(quiet, traced, template, path, 0, SILENT, renew=True)
    assert quiet.timed_files > 0
    assert not any(known.unstable for known in (*table.entries, *table.calibration))
    assert table.notes == []
    assert [error.worst < 0.05 for error in table.errors.values()] == [True]
    measured = quiet.timed_files
    assert measure_table(quiet, traced, template, path, 0, SILENT, renew=True) == table
    assert quiet.timed_files == measured


def test_benchmark_takes_turns_and_the_median_of_the_means(
    traced: TracedModel, template: GraphTemplate, tmp_path
) -> None:
    files = {}
    for name, counts in (("large", -1), ("small", 0)):
        policy = {group: choices[counts] for group, choices in traced.choices.items()}
        files[name] = tmp_path / f"{name}.tflite"
        files[name].write_bytes(template.file(policy, np.random.default_rng(0)))
    timings = benchmark(SimulatedDevice(), files, Protocol(warmup=1, runs=5, repeats=3), SILENT)
    assert [len(timing.repeats) for timing in timings.values()] == [3, 3]
    assert timings["small"].latency_ms < timings["large"].latency_ms
    assert not timings["large"].unstable
    with pytest.raises(UsageError, match=r"gone\.tflite"):
        benchmark(SimulatedDevice(), {"gone": tmp_path / "gone.tflite"}, Protocol(), SILENT)


def test_repeats_that_disagree_are_followed_by_more(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "network.tflite"
    file.write_bytes(template.file(traced.network.original, np.random.default_rng(0)))
    true = benchmark(SimulatedDevice(), {"n": file}, Protocol(), SILENT)["n"].latency_ms
    noisy = SimulatedDevice(noise=0.3)
    timing = benchmark(noisy, {"n": file}, Protocol(warmup=0, runs=60, repeats=3), SILENT)["n"]
    assert 3 < len(timing.repeats) <= MOST_REPEATS
    assert timing.doubt <= STEADY
    assert not timing.unstable
    mean = true * math.exp(0.3**2 / 2)
    assert abs(timing.latency_ms / mean - 1) < 4 * STEADY
    wild = benchmark(SimulatedDevice(noise=1.5), {"n": file}, Protocol(warmup=0, runs=5, repeats=3), SILENT)["n"]
    assert len(wild.repeats) == MOST_REPEATS
    assert wild.unstable
    monkeypatch.setattr("amc_hw.profiling.benchmark.PATIENCE_S", 0.0)
    hasty = Protocol(warmup=0, runs=5, repeats=3)
    assert len(benchmark(SimulatedDevice(noise=1.5), {"n": file}, hasty, SILENT)["n"].repeats) == 6


def test_what_is_undecided_is_measured_on(traced: TracedModel, template: GraphTemplate, tmp_path: Path) -> None:
    file = tmp_path / "network.tflite"
    file.write_bytes(template.file(traced.network.original, np.random.default_rng(0)))
    asked = list[int]()

    def is_decided(timings: Mapping[str, Timing]) -> bool:
        asked.append(len(timings["n"].repeats))
        return len(asked) == 3

    timing = benchmark(SimulatedDevice(), {"n": file}, Protocol(0, 5, 3), SILENT, is_decided)["n"]
    assert asked == [3, 6, 9]
    assert len(timing.repeats) == 9


def test_a_later_benchmark_leaves_no_logs_of_an_earlier_one(tmp_path: Path) -> None:
    def timing(name: str, repeats: int) -> Timing:
        return Timing(name, f"{name}.tflite", tuple(Times([1.0], log="words") for _ in range(repeats)))

    write_logs(tmp_path, {"model": timing("model", 6), "model-2": timing("model-2", 3)})
    write_logs(tmp_path, {"model-2": timing("model-2", 3), "model": timing("model", 3)})
    names = [f"{name}-{number}.log" for name in ("model", "model-2") for number in (1, 2, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
