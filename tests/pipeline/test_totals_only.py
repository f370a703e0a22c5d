"""The whole way on a device that tells the time of whole networks alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TINY

from amc_hw.latency.table import load_table
from amc_hw.pipeline.begin import begin
from amc_hw.pipeline.compress import compress_job
from amc_hw.pipeline.job import Job
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.search.scoring import OwnScore

pytest.importorskip("litert_torch")
from black_box import BlackBox


def test_a_black_box_is_searched_for_and_the_choice_is_proved_on_it(checkpoint: Path, tmp_path: Path) -> None:
    config = make_config(
        model=TINY,
        checkpoint=str(checkpoint),
        data="digits",
        budget="0.6x",
        precision="fp32",
        strategy="uniform",
        episodes=2,
        epochs=1,
        table=str(tmp_path / "table.json"),
    )
    folder = RunFolder(tmp_path / "run")
    config, trained = begin(folder, config, SILENT)
    summary = compress_job(Job(folder, config, trained, BlackBox(), OwnScore(lambda model: 0.5)), SILENT).document()
    assert 0.8 * summary["budget"]["target"] < summary["compressed"]["latency_ms"] <= summary["budget"]["target"]
    assert summary["unverified"] is False
    candidates = json.loads((folder.path / "policy.json").read_text())["candidates"]
    chosen = next(each for each in candidates if each["measured_ms"])
    assert chosen["measured_ms"] == pytest.approx(chosen["predicted_ms"], rel=0.1)
    assert load_table(folder.table).totals is not None
    assert "learned from the totals of" in (folder.path / "report.html").read_text()
