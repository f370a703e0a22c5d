"""A budget in milliseconds holds at the speed that the device has now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("litert_torch")
from device_run import compressed
from simulated_device import SimulatedDevice


def test_a_budget_in_milliseconds_is_searched_for_at_the_present_speed(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = str(tmp_path / "table.json")
    before = compressed(tmp_path / "before", checkpoint, SimulatedDevice(), episodes=2, table=table)
    budget_ms = round(0.6 * before["original"]["latency_ms"], 6)
    run, slower = tmp_path / "run", SimulatedDevice(overhead=1.05 * 1.3)
    summary = compressed(run, checkpoint, slower, episodes=2, table=table, budget=f"{budget_ms}ms")
    assert "taken times 1.3." in caplog.text
    assert summary["compressed"]["latency_ms"] <= budget_ms
    assert summary["original"]["predicted_ms"] == pytest.approx(1.3 * before["original"]["predicted_ms"], rel=0.01)
    first = json.loads((run / "policy.json").read_text())["candidates"][0]
    assert first["measured_ms"] == pytest.approx(first["predicted_ms"], rel=0.05)
    assert first["predicted_ms"] <= budget_ms
    header, *episodes = map(json.loads, (run / "episodes.jsonl").read_text().splitlines())
    limit = header["settings"]["limit"]
    assert 0.98 * budget_ms < limit <= budget_ms
    assert all(episode["cost"] <= limit for episode in episodes)
