"""What the last benchmark, or its rehearsal before the fine-tuning, finds over the budget is made smaller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from amc_hw.devices.base import Device
from amc_hw.errors import UnsupportedModelError
from amc_hw.pipeline import finish, timed
from amc_hw.pipeline.compress import PROOFS
from amc_hw.runs.folder import RunFolder
from amc_hw.tracing.traced import TracedModel

pytest.importorskip("litert_torch")
from device_run import compressed
from simulated_device import SimulatedDevice


class TiresLater(SimulatedDevice):
    """A device that takes longer for the compressed network in last benchmarks and rehearsals, each by ``later_us``.

    These are known by their 200 runs of a file, three times.
    """

    def __init__(self, *later_us: float, noise: float = 0.0) -> None:
        super().__init__(overhead=1.0)
        self.later_us = later_us
        self.later_noise = noise
        self.timed = 0

    @property
    def proofs(self) -> int:
        return -(-self.timed // 3)

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        samples = super().time_model(file, warmup=warmup, runs=runs)
        if runs != 200 or file.stem not in ("model", "candidate"):
            return samples
        self.timed += 1
        later = self.later_us[min(self.proofs, len(self.later_us)) - 1] * self.random.lognormal(0, self.later_noise)
        return [sample + later for sample in samples]


class WasSlow(TiresLater):
    """A device that was slower when the policy was chosen, at which the original lost more than smaller networks.

    Until the first rehearsal the original takes twice as long, and everybody else ``share`` less than that.
    """

    def __init__(self, share: float) -> None:
        super().__init__(0.0)
        self.share = share

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        samples = super().time_model(file, warmup=warmup, runs=runs)
        if self.timed:
            return samples
        slow = 2.0 if file.stem.startswith("original") else 2.0 * (1 - self.share)
        return [slow * sample for sample in samples]


def used(summary: dict) -> float:
    return summary["compressed"]["latency_ms"] / summary["budget"]["target"]


def missed(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "misses.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def original_us(checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    steady = SimulatedDevice(overhead=1.0)
    return 1e3 * compressed(tmp_path_factory.mktemp("steady"), checkpoint, steady)["original"]["latency_ms"]


@pytest.fixture
def finetuned(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run folders of the fine-tunings so far."""
    done, finetune = list[Path](), finish.finetune

    def counted(run: RunFolder, *others: Any) -> nn.Module:
        done.append(run.path)
        return finetune(run, *others)

    monkeypatch.setattr(finish, "finetune", counted)
    return done


def require_smaller(summary: dict, run: Path) -> None:
    assert 1 <= len(missed(run)) < PROOFS
    assert all(line["used"] > 1 for line in missed(run))
    assert 0.9 <= used(summary) <= 1
    assert summary["compressed"]["channels"] == json.loads((run / "policy.json").read_text())["channels"]
    assert summary["compressed"]["channels"] not in [line["channels"] for line in missed(run)]


def test_a_network_that_misses_in_the_rehearsal_is_made_smaller_before_it_is_fine_tuned(
    original_us: float, checkpoint: Path, finetuned: list[Path], tmp_path: Path
) -> None:
    device, run = TiresLater(0.1 * original_us), tmp_path / "run"
    require_smaller(compressed(run, checkpoint, device), run)
    assert finetuned == [run]


def test_a_network_that_misses_at_last_is_made_smaller_and_fine_tuned_again(
    original_us: float, checkpoint: Path, finetuned: list[Path], tmp_path: Path
) -> None:
    device, run = TiresLater(0.0, 0.1 * original_us), tmp_path / "run"
    require_smaller(compressed(run, checkpoint, device), run)
    assert finetuned == [run, run]


def test_a_miss_because_the_device_is_faster_now_makes_nothing_smaller_than_need_be(
    checkpoint: Path, finetuned: list[Path], tmp_path: Path
) -> None:
    device, run = WasSlow(0.15), tmp_path / "run"
    summary = compressed(run, checkpoint, device)
    (miss,) = missed(run)
    assert miss["used"] > 1.1
    assert miss["found"] == pytest.approx(miss["used"], rel=0.01)
    assert 0.95 <= used(summary) <= 1
    assert finetuned == [run]


def test_a_network_that_cannot_be_written_yet_is_fine_tuned_without_a_rehearsal(
    checkpoint: Path,
    finetuned: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = timed.export_for

    def export_for(device: Device, trained: TracedModel, model: nn.Module, path: Path) -> None:
        if (path.parent / "policy.json").exists():  # the chosen one, every layer of which is fitted
            raise UnsupportedModelError("rounding leaves nothing of it.")
        real(device, trained, model, path)

    monkeypatch.setattr(timed, "export_for", export_for)
    device, run = TiresLater(0.0), tmp_path / "run"
    assert used(compressed(run, checkpoint, device)) <= 1
    assert (device.proofs, finetuned) == (1, [run])
    assert "the last benchmark is not rehearsed: rounding leaves nothing of it." in caplog.text


def test_without_epochs_nothing_is_rehearsed(original_us: float, checkpoint: Path, tmp_path: Path) -> None:
    device = TiresLater(0.0)
    compressed(tmp_path / "run", checkpoint, device, epochs=0)
    assert device.proofs == 1


def test_it_is_not_made_smaller_for_ever(original_us: float, checkpoint: Path, tmp_path: Path) -> None:
    device, run = TiresLater(*(share * original_us for share in (0.1, 0.2, 0.3))), tmp_path / "run"
    assert used(compressed(run, checkpoint, device)) > 1
    assert device.proofs == PROOFS
    assert len(missed(run)) == PROOFS - 1


def test_where_nothing_smaller_fits_the_network_stays_and_is_proved_again(
    original_us: float, checkpoint: Path, tmp_path: Path
) -> None:
    device, run = TiresLater(3 * original_us, 3 * original_us, 0.0), tmp_path / "run"
    first = compressed(run, checkpoint, device)
    assert used(first) > 1
    assert (device.proofs, missed(run)) == (2, [])
    again = compressed(run, checkpoint, device)
    assert used(again) <= 1
    assert again["compressed"]["channels"] == first["compressed"]["channels"]


def test_a_network_that_was_proved_stays_where_it_misses_when_it_is_proved_again(
    original_us: float, checkpoint: Path, tmp_path: Path
) -> None:
    device, run = TiresLater(0.0, 0.0, 0.1 * original_us), tmp_path / "run"
    assert used(compressed(run, checkpoint, device)) <= 1
    before = (run / "model.pt").read_bytes()
    assert used(compressed(run, checkpoint, device)) > 1
    assert device.proofs == 3
    assert (run / "model.pt").read_bytes() == before
    assert not (run / "misses.jsonl").exists()


def test_a_miss_on_a_device_that_is_too_busy_to_tell_is_only_told(
    original_us: float, checkpoint: Path, tmp_path: Path
) -> None:
    device, run = TiresLater(2 * original_us, noise=2.0), tmp_path / "run"
    assert used(compressed(run, checkpoint, device)) > 1
    assert not (run / "misses.jsonl").exists()
