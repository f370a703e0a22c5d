"""What the last benchmark finds over the budget is made smaller, fine-tuned, exported and timed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TINY

from amc_hw.config import make_config
from amc_hw.pipeline import PROOFS, begin, compress_subject

pytest.importorskip("litert_torch")
from simulated_device import SimulatedDevice


class TiresLater(SimulatedDevice):
    """A device that gets slower for small networks as soon as the last benchmark comes: all its runs are of 200."""

    def __init__(self, later_us: float) -> None:
        super().__init__(overhead=1.0)
        self.later_us = later_us
        self.last_benchmarks = 0

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        last = runs == 200
        self.last_benchmarks += last and file.stem == "model"
        return [sample + last * self.later_us for sample in super().time_model(file, warmup=warmup, runs=runs)]


def silent(done: int, total: int, text: str) -> None:
    pass


def compressed(run: Path, checkpoint: Path, device: SimulatedDevice) -> dict:
    config = make_config(
        model=TINY, checkpoint=str(checkpoint), data="digits", budget="0.6x", strategy="uniform", episodes=1, epochs=1
    )
    subject = begin(run, config, silent)
    return compress_subject(run, config, subject, device, lambda model: 0.5, silent)


def used(summary: dict) -> float:
    return summary["compressed"]["latency_ms"] / summary["budget"]["target"]


def test_a_network_that_misses_at_last_is_made_smaller(checkpoint: Path, tmp_path: Path) -> None:
    steady = SimulatedDevice(overhead=1.0)
    original_us = 1e3 * compressed(tmp_path / "steady", checkpoint, steady)["original"]["latency_ms"]
    device = TiresLater(0.1 * original_us)
    run = tmp_path / "run"
    summary = compressed(run, checkpoint, device)
    missed = [json.loads(line) for line in (run / "misses.jsonl").read_text().splitlines()]
    assert 1 <= len(missed) < PROOFS
    assert all(line["used"] > 1 for line in missed)
    assert device.last_benchmarks == 3 * (1 + len(missed))
    assert 0.9 <= used(summary) <= 1
    assert summary["compressed"]["channels"] == json.loads((run / "policy.json").read_text())["channels"]
    assert summary["compressed"]["channels"] not in [line["channels"] for line in missed]


def test_a_device_that_never_keeps_it_is_told_and_not_tried_for_ever(checkpoint: Path, tmp_path: Path) -> None:
    class Hopeless(TiresLater):
        def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
            self.later_us *= 1.03  # worse each time
            return super().time_model(file, warmup=warmup, runs=runs)

    device = Hopeless(50.0)
    summary = compressed(tmp_path / "run", checkpoint, device)
    assert used(summary) > 1
    assert device.last_benchmarks >= 3 * PROOFS
