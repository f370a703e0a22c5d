"""The whole way on a tiny network with ExecuTorch: its run has .pte files, in both precisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TINY, amc_hw

from amc_hw.latency.read_table import load_table
from amc_hw.policy import DTYPES, Precision

pytest.importorskip("executorch")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_run_for_executorch_is_exported_verified_and_benchmarked_as_pte(
    precision: Precision,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "tiny executorch"
    status = amc_hw(
        *("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--macs", "0.6x"),
        *("--device", "executorch", "--precision", precision, "--episodes", 2, "--epochs", 0, "--run", run),
        *("--strategy", "random"),
    )
    assert status == 0, capsys.readouterr().err
    summary = json.loads((run / "summary.json").read_text())
    assert {"original.pte", "model.pte"} <= {path.name for path in run.glob("*.pte")}
    assert not [*run.glob("*.tflite"), *run.glob("*.onnx")]
    assert (summary["device"]["runtime"], summary["device"]["delegate"]) == ("executorch", "xnnpack")
    assert load_table(run / "table.json").fingerprint.dtype == DTYPES[precision]
    assert summary["artifacts"]["pte"] == "model.pte"
    assert summary["compressed"]["macs"] <= 0.6 * summary["original"]["macs"]
    capsys.readouterr()
    assert amc_hw("evaluate", run / "model.pte", "--data", "digits", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == summary["compressed"]["accuracy"]
    timed = ("benchmark", run / "model.pte", "--warmup", 1, "--runs", 5, "--repeats", 1, "--json")
    assert amc_hw(*timed, "--device", "executorch") == 0
    assert json.loads(capsys.readouterr().out)[0]["latency_ms"] > 0
    size = (run / "model.pte").stat().st_size
    (run / "model.pte").unlink()
    assert amc_hw("export", "--run", run, "--format", "pte") == 0
    assert (run / "model.pte").stat().st_size == size
