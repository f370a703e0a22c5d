"""The loop with a phone in it, from the profile to the benchmark; and a table through lost cables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, amc_hw
from connections import is_connected
from loopback_phone import wait_until

from amc_hw.devices.android.adb import ConnectionLostError
from amc_hw.devices.android.benchmark_log import parse_log
from amc_hw.devices.android.phone import AndroidDevice
from amc_hw.devices.effort import Effort
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.template import lower
from amc_hw.latency.read_table import load_table
from amc_hw.models.zoo import build_model
from amc_hw.pipeline import timed
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.protocol import Protocol
from amc_hw.runs.progress import Progress, Update
from amc_hw.tracing.traced import TracedModel, trace_model

QUICK = Effort(networks=5, warmup=1, runs=10, samples=1, calibration=12, visits=1, visit_warmup=1, visit_runs=10)


def test_profile_takes_at_most_forty_starts() -> None:
    effort = AndroidDevice.effort
    assert effort.networks + effort.visits * effort.calibration <= 40


def test_compress_on_the_phone(
    phone: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMC_HW_BENCHMARK_MODEL", str(phone.benchmark_model))
    monkeypatch.setattr(AndroidDevice, "effort", QUICK)
    monkeypatch.setattr(timed, "QUICK", Protocol(warmup=5, runs=20, repeats=1))
    run, table = tmp_path / "my run", tmp_path / "table.json"
    device = ("--device", f"android:{phone.serial}", "--table", table)
    task = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--macs", "0.6x", "--episodes", 10)
    assert amc_hw("compress", *task, "--epochs", 1, "--run", run, *device) == 0
    assert "sha256:" in load_table(table).fingerprint.runtime_version

    summary = json.loads((run / "summary.json").read_text())
    assert summary["device"]["device"] == "amc-hw tests Loopback Phone"
    assert summary["compressed"]["macs"] <= 0.6 * summary["original"]["macs"]
    assert (run / "report.html").exists()
    models = json.loads((run / "benchmark.json").read_text())["models"]
    for model in models:
        for number, repeat in enumerate(model["repeats"], start=1):
            log = parse_log((run / "logs" / f"{model['name']}-{number}.log").read_text(), warmup_runs=100, runs=200)
            assert [log.regular.avg_us] == repeat["samples_us"]
            assert repeat["statistics"]["count"] == 200

    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    assert amc_hw("benchmark", run / "model.tflite", *device[:2], "--runs", 20, "--repeats", 1, "--json") == 0
    assert [len(m["repeats"]) for m in json.loads(capsys.readouterr().out)] == [1]
    assert len(list((tmp_path / "benchmark-logs").glob("*/*"))) == 1
    wait_until(lambda: phone.processes() == [])
    assert sorted(phone.run("ls /data/local/tmp").split()) == ["amc-hw"]


@pytest.fixture(scope="module")
def trained() -> TracedModel:
    return trace_model(build_model(TINY, 10, 1), (1, 28, 28))


def test_profile_goes_on_after_a_lost_cable(
    phone: Any, open_android: Any, trained: TracedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AndroidDevice, "effort", QUICK)
    template, path = lower(trained.model, trained.network, trained.example, FORMATS["tflite"]), tmp_path / "table.json"
    device = open_android(phone, reconnect_s=0.5)
    said: list[int] = []

    def pull_the_cable(update: Update) -> None:
        said.append(update.done)
        if len(said) == 1:
            phone.cut_cable("shell", seconds=0.1, away=0.1)  # it comes back by itself
        if len(said) == 3:
            phone.cut_cable("shell", seconds=0.1, away=4.0)

    with pytest.raises(ConnectionLostError, match="run the same command again: what was measured is kept"):
        measure_table(device, trained, template, path, 0, Progress(pull_the_cable))
    kept = {entry.key for entry in load_table(path).entries}
    assert len(kept) >= 3
    device.close()
    wait_until(lambda: phone.processes() == [])

    wait_until(lambda: is_connected(f"android:{phone.serial}"))
    again = open_android(phone)
    measured: list[Update] = []
    table = measure_table(again, trained, template, path, 0, Progress(measured.append))
    assert kept <= {entry.key for entry in table.entries}
    assert len(table.calibration) == QUICK.calibration
    assert sum(update.stage == "measuring operators" for update in measured) == 2  # three of the five were known
