"""The whole way on a tiny network with ONNX Runtime: its run has ONNX files, and nothing of TFLite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TINY, amc_hw

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_a_run_for_onnx_is_exported_verified_and_benchmarked_as_onnx(
    checkpoint: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    run = tmp_path / "tiny onnx"
    status = amc_hw(
        *("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--macs", "0.6x"),
        *("--device", "onnx:batch_size=4", "--episodes", 6, "--epochs", 0, "--run", run),
    )
    assert status == 0, capsys.readouterr().err
    summary = json.loads((run / "summary.json").read_text())
    assert {path.name for path in run.glob("*.onnx")} == {"original.onnx", "model.onnx"}
    assert not list(run.glob("*.tflite"))
    assert (summary["device"]["runtime"], summary["device"]["batch_size"]) == ("onnxruntime", 4)
    assert summary["artifacts"]["onnx"] == "model.onnx"
    assert summary["compressed"]["macs"] <= 0.6 * summary["original"]["macs"]
    benchmark = json.loads((run / "benchmark.json").read_text())
    assert {len(repeat["samples_us"]) for model in benchmark["models"] for repeat in model["repeats"]} == {200}
    assert [model["name"] for model in benchmark["models"]] == ["original", "compressed"]
    assert all(model["repeats"] and len(model["repeats"]) % 3 == 0 for model in benchmark["models"])

    capsys.readouterr()
    assert amc_hw("evaluate", run / "model.onnx", "--data", "digits", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == summary["compressed"]["accuracy"]
    timed = ("benchmark", run / "model.onnx", "--warmup", 1, "--runs", 5, "--repeats", 1, "--json")
    assert amc_hw(*timed, "--device", "onnx:batch_size=4") == 0
    assert json.loads(capsys.readouterr().out)[0]["latency_ms"] > 0
    assert amc_hw(*timed, "--device", "onnx") == 1
    assert "batch_size=4" in capsys.readouterr().err
