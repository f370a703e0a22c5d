"""The whole way on a device that tells the time of whole networks alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amc_hw.latency.read_table import load_table

pytest.importorskip("litert_torch")
from black_box import BlackBox
from device_run import compressed


def test_a_black_box_is_searched_for_and_the_choice_is_proved_on_it(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = compressed(run, checkpoint, BlackBox(), episodes=2, table=str(tmp_path / "table.json"))
    assert 0.8 * summary["budget"]["target"] < summary["compressed"]["latency_ms"] <= summary["budget"]["target"]
    assert summary["unverified"] is False
    candidates = json.loads((run / "policy.json").read_text())["candidates"]
    chosen = next(each for each in candidates if each["measured_ms"])
    assert chosen["measured_ms"] == pytest.approx(chosen["predicted_ms"], rel=0.1)
    assert load_table(run / "table.json").totals is not None
    assert "learned from the totals of" in (run / "report.html").read_text()
