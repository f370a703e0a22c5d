"""A search for a device out of reach works from its table, and everything it writes says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TINY, amc_hw
from simulated_device import SimulatedDevice

from amc_hw.formats.graph import GraphTemplate
from amc_hw.profiling.measure import measure_table
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel


def test_search_and_compress_without_the_device(
    traced: TracedModel,
    template: GraphTemplate,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("amc_hw.profiling.profile.template_for", lambda *trained: template)
    table, run = tmp_path / "board.json", tmp_path / "run"
    measure_table(SimulatedDevice(), traced, template, table, 0, SILENT)
    options = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--device", "board", "--table", table)
    options = (*options, "--latency", "0.6x", "--strategy", "random", "--episodes", 3, "--run", run)

    assert amc_hw("search", *options) == 0
    written = capsys.readouterr()
    told = " ".join((written.out + written.err).split())
    assert "not measured" in told
    assert told.count("nothing was verified") == 2  # before the work, and after it
    policy = json.loads((run / "policy.json").read_text())
    assert policy["unverified"] is True
    assert policy["measured_ms"] is None

    assert amc_hw("compress", *options, "--epochs", 0, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["unverified"] is True
    assert summary["compressed"]["latency_ms"] is None
    assert summary["compressed"]["predicted_ms"] == policy["predicted_ms"] <= summary["budget"]["target"]
    assert summary["budget"]["target"] == pytest.approx(0.6 * summary["original"]["predicted_ms"])
    assert not (run / "benchmark.json").exists()
    assert "ot verified" in (run / "report.html").read_text()


def test_an_unknown_device_without_a_table_is_still_unknown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert amc_hw("search", "--device", "hots", "--run", tmp_path / "run") == 2
    assert "did you mean 'host'" in capsys.readouterr().err
