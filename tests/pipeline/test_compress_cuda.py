"""The whole way on a tiny network for a GPU whose times are made up: what --precision does there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw
from pretended_gpu import PretendedGpu

from amc_hw.data.dataset import load_data
from amc_hw.formats.aten.stored import unpack
from amc_hw.latency.read_table import load_table
from amc_hw.pipeline.load import load
from amc_hw.pipeline.settings import settled
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def _a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("amc_hw.devices.computers.cuda.ThisMachine", PretendedGpu)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def task(checkpoint: Path, run: Path, *more: object) -> tuple[object, ...]:
    return ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--device", "cuda", "--run", run, *more)


def dtype_of(file: Path) -> str:
    return str(unpack(file.read_bytes())[0]["dtype"])


def test_where_fp16_alone_keeps_the_budget_nothing_is_pruned(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert amc_hw("compress", *task(checkpoint, run, "--latency", "0.7x", "--epochs", 0)) == 0
    choice, policy, summary = (
        json.loads((run / name).read_text()) for name in ("precision.json", "policy.json", "summary.json")
    )
    assert [each["precision"] for each in choice["trials"]] == ["fp32", "fp16"]
    assert (choice["chosen"], choice["alone"], read_config(run).precision) == ("fp16", True, "fp16")
    assert policy["channels"] == policy["original_channels"]
    assert [dtype_of(run / f"{name}.aten") for name in ("original", "original-fp16", "model", "model-fp32")] == [
        *("float32", "float16", "float16", "float32")
    ]
    assert summary["device"]["dtype"] == "float16"
    assert summary["compressed"]["latency_ms"] < 0.7 * summary["original"]["latency_ms"]
    half, right, test = fold_batch_norms(load(run), torch.zeros(1, 1, 32, 32)).half(), 0, load_data("digits").test
    with torch.inference_mode():
        for pixels, labels in test.batches(50):
            right += int((half(pixels.half()).argmax(1) == labels).sum())
    assert summary["compressed"]["accuracy"] == pytest.approx(right / len(test), abs=1.5 / len(test))


def test_where_it_does_not_the_search_is_in_it_and_shares_are_of_the_original_in_fp32(
    checkpoint: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = ("--latency", "0.35x", "--strategy", "uniform", "--episodes", 2)
    assert amc_hw("search", *task(checkpoint, run, *options)) == 0
    choice, times = (json.loads((run / name).read_text()) for name in ("precision.json", "original-times.json"))
    assert (choice["chosen"], choice["alone"]) == ("fp16", False)
    assert load_table(run / "table.json").fingerprint.dtype == "float16"
    chosen = json.loads((run / "policy.json").read_text())["candidates"][0]
    assert times["shipped_ms"] < 0.7 * times["float_ms"]
    assert chosen["measured_ms"] <= 0.35 * times["float_ms"] * 1.001


def test_a_table_of_earlier_versions_option_goes_on_in_its_precision(tmp_path: Path) -> None:
    table = tmp_path / "gpu.json"
    network = ("--model", TINY, "--image-size", 32, "--classes", 10, "--table", table)
    assert amc_hw("profile", *network, "--device", "cuda", "--precision", "fp16") == 0
    measured = load_table(table)  # what cuda:dtype=fp16 was measured as has the same fingerprint
    assert (measured.fingerprint.dtype, measured.fingerprint.threads) == ("float16", 1)
    config = make_config(device="cuda", table=str(table), latency="0.5x")
    assert settled(RunFolder(tmp_path / "run"), config).precision == "fp16"


def test_a_name_of_earlier_versions_is_answered_with_the_cure(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    compress = ("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", run)
    for command in (compress, ("profile",), ("table", "check", "--model", TINY), ("benchmark", tmp_path / "x.aten")):
        assert amc_hw(*command, "--device", "cuda:dtype=fp16") == 2
        assert "leave it out: a file of --precision fp16 is computed in fp16." in capsys.readouterr().err
    assert not run.exists()
