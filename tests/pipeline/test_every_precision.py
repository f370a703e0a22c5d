"""Each command in each precision that the computer's runtimes have, on a tiny network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw
from pretended_gpu import PretendedGpu
from tiny import TinyNet

pytest.importorskip("litert_torch")
from amc_hw import compress, open_device
from amc_hw.devices.computers.names import KINDS
from amc_hw.errors import UsageError
from amc_hw.latency.read_table import load_table
from amc_hw.policy import DTYPES, Precision

HERE: list[tuple[str, Precision]] = [
    (device, precision)
    for device in ("host", "onnx", "cuda")
    for precision in KINDS[device].precisions
    if precision not in ("fp32", "int8")  # other tests have these
]
LACKING: list[tuple[str, Precision]] = [
    (name, next(precision for precision in DTYPES if precision not in kind.precisions))
    for name, kind in KINDS.items()
    if len(kind.precisions) < len(DTYPES)
]
SEARCH = ("--macs", "0.6x", "--strategy", "random", "--episodes", 2, "--epochs", 0)


@pytest.fixture(autouse=True)
def _a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amc_hw.devices.computers.cuda.ThisMachine", PretendedGpu)


@pytest.fixture
def table(device: str, precision: Precision, shared: Path) -> Path:
    """The device's table in the precision, which the first test that needs it measures."""
    return shared / f"table-{device}-{precision}.json"


@pytest.mark.parametrize(("device", "precision"), HERE)
def test_compress_evaluate_benchmark_export_and_report(
    device: str,
    precision: Precision,
    table: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    task = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--device", device, "--table", table)
    assert amc_hw("compress", *task, *SEARCH, "--precision", precision, "--run", run) == 0
    capsys.readouterr()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["precision"] == precision
    assert summary["device"]["dtype"] == load_table(run / "table.json").fingerprint.dtype == DTYPES[precision]
    figures = (summary["original"], summary["compressed"], *summary["others"].values())
    assert len(figures) == 4
    assert all(each["latency_ms"] > 0 for each in figures)
    original, shipped = summary["original"], summary["others"][f"original in {precision}"]
    assert shipped["accuracy"] > original["accuracy"] - 0.03
    files = {file.name: file for file in run.iterdir()}
    model = next(file for name, file in files.items() if name.startswith("model.") and file.suffix != ".pt")
    assert amc_hw("evaluate", model, "--data", "digits", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == summary["compressed"]["accuracy"]
    assert amc_hw("evaluate", "--run", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == summary["compressed"]["accuracy"]
    quick = ("--warmup", 1, "--runs", 5, "--repeats", 1, "--out", tmp_path / "times.json")
    assert amc_hw("benchmark", model, "--device", device, *quick) == 0
    size = model.stat().st_size
    model.unlink()
    assert amc_hw("export", "--run", run, "--format", model.suffix[1:]) == 0
    assert model.stat().st_size == size
    (run / "report.html").unlink()
    assert amc_hw("report", "--run", run) == 0
    assert f"compressed in {precision}" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("device", "precision"), [(name, each) for name in ("host", "cuda") for each in KINDS[name].precisions]
)
def test_a_table_is_measured_and_held_against_exported_networks(
    device: str, precision: Precision, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ("--model", TINY, "--image-size", 32, "--classes", 10, "--precision", precision, "--table", table)
    task = (*task, "--device", device)
    assert amc_hw("profile", *task) == 0
    capsys.readouterr()
    assert amc_hw("table", "check", *task, "--networks", 2, "--export-all", "--json") == 0
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert len(networks) == 2
    assert all(each["predicted_ms"] > 0 and each["measured_ms"] > 0 for each in networks)
    assert load_table(table).fingerprint.dtype == DTYPES[precision]


@pytest.mark.parametrize(("device", "precision"), LACKING)
@pytest.mark.parametrize("command", ["compress", "search", "sweep", "profile", "table check"])
def test_a_device_without_the_precision_is_told_before_any_work(
    device: str, precision: Precision, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"compress": ("--run", tmp_path / "run"), "search": ("--run", tmp_path / "run")}
    places["sweep"] = ("--out", tmp_path / "run", "--latency", "0.5x,0.7x")
    options = places.get(command, ("--model", "resnet20"))
    assert amc_hw(*command.split(), *options, "--device", device, "--precision", precision) == 2
    assert f"the device '{device}' runs " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("device", "precision"), LACKING)
def test_it_is_told_from_python_too(device: str, precision: Precision, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UsageError, match=f"the device '{device}' runs .*not {precision}; choose another precision="):
        compress(TinyNet(), torch.zeros(1, 1, 32, 32), data="digits", device=device, precision=precision, run=run)
    with pytest.raises(UsageError, match=f"not {precision}"):
        open_device(device, precision)
    assert not run.exists()
