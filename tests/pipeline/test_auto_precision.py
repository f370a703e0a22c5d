"""A precision that nobody named is chosen by what the device, the files and the validation split say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TINY, amc_hw

pytest.importorskip("litert_torch")
from simulated_device import SimulatedDevice

from amc_hw.chance import standard_error
from amc_hw.devices.base import CpuFallbackError
from amc_hw.errors import UsageError
from amc_hw.pipeline import family
from amc_hw.pipeline.auto_precision import _fastest, _tell, _timings
from amc_hw.pipeline.settings import check_settings, settled
from amc_hw.pipeline.trained import make_pruner
from amc_hw.runs.begun import open_run, read_config
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import PrecisionTrial


def task(checkpoint: Path, run: Path, *more: object) -> tuple[object, ...]:
    return ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", run, *more)


@pytest.fixture(scope="module")
def alone(checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "alone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        assert amc_hw("compress", *task(checkpoint, folder, "--size", "0.9x", "--epochs", 1)) == 0
    return folder


def test_where_a_precision_keeps_the_budget_nothing_is_pruned(alone: Path) -> None:
    choice, policy, summary = (
        json.loads((alone / name).read_text()) for name in ("precision.json", "policy.json", "summary.json")
    )
    assert choice["alone"]
    assert choice["chosen"] != "fp32"
    assert policy["channels"] == policy["original_channels"]
    assert summary["precision"] == choice["chosen"] == read_config(alone).precision
    assert summary["compressed"]["size_bytes"] <= 0.9 * summary["original"]["size_bytes"]
    assert summary["compressed"]["accuracy"] >= summary["original"]["accuracy"] - 0.02
    assert not (alone / "episodes.jsonl").exists()
    assert f"the original in {choice['chosen']} keeps the budget" in (alone / "report.html").read_text()


def test_what_each_precision_takes_is_kept(alone: Path) -> None:
    trials = {each["precision"]: each for each in json.loads((alone / "precision.json").read_text())["trials"]}
    assert list(trials) == ["fp32", "fp16", "int8-dynamic", "int8"]
    sizes = [trials[name]["size_bytes"] for name in ("fp32", "fp16", "int8")]
    assert sizes == sorted(sizes, reverse=True)
    assert trials["fp32"]["used"] == pytest.approx(1 / 0.9)
    assert "accuracy" not in trials["fp32"]


def test_the_same_command_goes_on_in_the_precision_that_was_chosen(alone: Path, checkpoint: Path) -> None:
    before = (alone / "precision.json").read_bytes()
    assert amc_hw("compress", *task(checkpoint, alone, "--size", "0.9x", "--epochs", 1)) == 0
    assert (alone / "precision.json").read_bytes() == before
    named = read_config(alone).precision
    assert amc_hw("compress", *task(checkpoint, alone, "--size", "0.9x", "--epochs", 1, "--precision", named)) == 0
    assert amc_hw("compress", *task(checkpoint, alone, "--size", "0.9x", "--epochs", 1, "--precision", "fp32")) == 2


def test_another_budget_is_another_run(alone: Path, checkpoint: Path) -> None:
    before = (alone / "model.tflite").read_bytes()
    assert amc_hw("compress", *task(checkpoint, alone, "--size", "0.8x", "--epochs", 1)) == 2
    assert (alone / "model.tflite").read_bytes() == before


def test_an_accuracy_of_one_has_an_error_too() -> None:
    assert 0.005 < standard_error(1.0, 143) < 0.02
    assert standard_error(0.9, 10_000) == pytest.approx(0.003, rel=0.01)


def test_where_none_does_the_search_is_in_the_one_that_loses_least(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered, run = list[object](), tmp_path / "run"
    monkeypatch.setattr(family, "make_pruner", lambda *given: gathered.append(given) or make_pruner(*given))
    options = ("--size", "0.25x", "--strategy", "uniform", "--episodes", 2)
    assert amc_hw("search", *task(checkpoint, run, *options)) == 0
    choice = json.loads((run / "precision.json").read_text())
    assert not choice["alone"]
    accuracies = {each["precision"]: each.get("accuracy") for each in choice["trials"]}
    assert accuracies[choice["chosen"]] is not None
    policy = json.loads((run / "policy.json").read_text())
    assert policy["channels"] != policy["original_channels"]
    assert len(gathered) == 1  # the statistics for reconstruction, for the trial and for the search


def test_what_no_precision_can_keep_is_not_said_to_be_kept(caplog: pytest.LogCaptureFixture) -> None:
    trials = [
        PrecisionTrial(precision="fp32", latency_ms=2.0, size_bytes=1, used=9),
        PrecisionTrial(precision="int8", latency_ms=1.0, size_bytes=1, used=4),
    ]
    with caplog.at_level("INFO"):
        _tell(trials[1], trials, alone=False, images=100)
    assert "in none of them" in caplog.text
    assert "int8 is tried" in caplog.text
    assert "keeps" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "decided"),
    [
        ({"macs": "0.5x"}, "fp32"),
        ({"latency": "0.5x"}, "auto"),
        ({"latency": "0.5x-int8"}, "int8"),
        ({"macs": "0.5x", "size": "0.5x"}, "auto"),
        ({"latency": "0.5x", "device": "cuda"}, "auto"),
        ({"latency": "0.5x-bf16", "device": "cuda"}, "bf16"),
        ({"latency": "0.5x", "granularity": "weights"}, "fp32"),
        ({"latency": "0.5x-int8", "precision": "int8"}, "int8"),
    ],
)
def test_what_needs_no_trial_is_decided_at_once(tmp_path: Path, settings: dict, decided: str) -> None:
    assert settled(RunFolder(tmp_path / "run"), make_config(**settings)).precision == decided


@pytest.mark.parametrize(
    "settings",
    [
        {"latency": "0.5x-int8", "precision": "fp32"},
        {"latency": "0.5x-int8", "precision": "int16x8"},
        {"latency": "0.5x", "size": "0.9x-fp16", "precision": "int8"},
        {"latency": "0.5x-int8", "size": "0.5x-fp16"},
    ],
)
def test_a_share_of_another_precision_is_refused(tmp_path: Path, settings: dict) -> None:
    with pytest.raises(UsageError, match=r"shares? of the original in"):
        check_settings(RunFolder(tmp_path / "run"), make_config(**settings))


def test_a_run_from_before_precisions_is_one_in_fp32(tmp_path: Path) -> None:
    open_run(tmp_path, make_config(model="m", data="digits", precision="fp32"))
    document = json.loads((tmp_path / "config.json").read_text())
    del document["precision"]
    (tmp_path / "config.json").write_text(json.dumps(document))
    assert read_config(tmp_path).precision == "fp32"
    assert settled(RunFolder(tmp_path), make_config(model="m", data="digits")).precision == "fp32"


class OnlyWhole(SimulatedDevice):
    """An accelerator that runs no network whole in some precisions."""

    def __init__(self, *left: str) -> None:
        super().__init__()
        self.left = left

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        if file.stem in self.left:
            raise CpuFallbackError("the gpu took no operator", file)
        return [1000.0] * runs


def test_a_precision_that_an_accelerator_leaves_to_the_processor_is_left_out(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.tflite" for name in ("fp32", "int8-dynamic", "int8")}
    for file in files.values():
        file.write_bytes(b"TFL3")
    assert list(_timings(OnlyWhole("int8-dynamic", "int8"), files, Progress())) == ["fp32"]
    assert list(files) == ["fp32"]
    with pytest.raises(CpuFallbackError):
        _timings(OnlyWhole("fp32"), files, Progress())


@pytest.mark.parametrize(("dynamic_ms", "taken"), [(0.99, "fp32"), (0.96, "fp32"), (0.9, "int8-dynamic")])
def test_a_precision_that_is_hardly_faster_is_not_worth_its_rounding(dynamic_ms: float, taken: str) -> None:
    trials = [
        PrecisionTrial(precision="fp32", latency_ms=1.0, size_bytes=400, used=2.0, accuracy=0.9),
        PrecisionTrial(precision="int8-dynamic", latency_ms=dynamic_ms, size_bytes=100, used=1.9, accuracy=0.9),
    ]
    assert _fastest(trials).precision == taken
    assert _fastest(trials[1:]).precision == "int8-dynamic"
