"""A whole run in int8: measured, scored, fine-tuned and exported in it, with shares of the original in fp32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, amc_hw

pytest.importorskip("litert_torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from ai_edge_litert.interpreter import Interpreter

from amc_hw.data.dataset import load_data
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.latency.read_table import load_table
from amc_hw.pipeline import search

DEVICES = {"tflite": "host", "onnx": "onnx"}
"""That run int8 files of each format."""


@pytest.fixture(scope="module", params=DEVICES)
def ending(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(ending: str, checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "int8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(search, "FEW_IMAGES", 0)  # the search has all of its episodes
        status = amc_hw(
            *("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--macs", "0.5x"),
            *("--device", DEVICES[ending], "--precision", "int8", "--episodes", 8, "--epochs", 1, "--run", folder),
        )
    assert status == 0
    return folder


def kinds_of(file: Path) -> list[str]:
    """The kinds of a file's operators, as tables call them."""
    return [operator.kind for operator in FORMATS[file.suffix[1:]].read(file.read_bytes()).operators()]


def test_the_table_and_the_files_are_of_the_precision(run: Path, ending: str) -> None:
    assert load_table(run / "table.json").fingerprint.dtype == "int8"
    integer = [kinds_of(run / f"{name}.{ending}") for name in ("model", "original-int8")]
    plain = [kinds_of(run / f"{name}.{ending}") for name in ("model-fp32", "original")]
    assert all("QUANTIZE" in kinds for kinds in integer)
    assert not any("QUANTIZE" in kinds for kinds in plain)


def test_all_four_are_timed_evaluated_and_shown(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    names = ["original", "compressed", "original in int8", "compressed in fp32"]
    assert [each["name"] for each in json.loads((run / "benchmark.json").read_text())["models"]] == names
    assert summary["precision"] == "int8"
    assert set(summary["others"]) == set(names[2:])
    for each in (summary["original"], summary["compressed"], *summary["others"].values()):
        assert each["latency_ms"] > 0
        assert each["accuracy"] > 0.8
    assert summary["compressed"]["size_bytes"] < summary["others"]["compressed in fp32"]["size_bytes"]
    page = (run / "report.html").read_text()
    assert "In each precision" in page
    assert "compressed in int8" in page


def test_the_accuracy_is_that_of_the_int8_file(run: Path, ending: str) -> None:
    summary, test = json.loads((run / "summary.json").read_text()), load_data("digits").test
    model, right = load_file(run / f"model.{ending}"), 0
    for images, labels in test.batches(50):
        right += int((model(images.numpy()).argmax(1) == labels.numpy()).sum())
    assert summary["compressed"]["accuracy"] == pytest.approx(right / len(test))


def test_episodes_are_scored_as_files_of_the_precision(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    accuracies = [line["accuracy"] for line in lines if "accuracy" in line]
    assert len(accuracies) == 8
    assert np.all(np.asarray(accuracies) <= 1)


def test_shares_are_of_the_original_in_fp32(run: Path) -> None:
    times = json.loads((run / "original-times.json").read_text())
    assert times["float_ms"] > 0
    assert times["shipped_ms"] > 0
    assert json.loads((run / "policy.json").read_text())["candidates"][0]["original_ms"] > 0


def test_the_run_is_exported_in_its_precision_where_the_format_has_it(
    run: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kinds_of(run / f"model.{ending}")
    assert amc_hw("export", "--run", run, "--format", ending) == 0
    assert kinds_of(run / f"model.{ending}") == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--precision", "int9"), "did you mean 'int8'"),
        (("--precision", "fp16", "--device", "onnx"), "the device 'onnx' runs fp32, int8, not fp16"),
        (("--precision", "int8", "--device", "pixel1"), "of fp32, not int8"),
        (
            ("--precision", "fp32", "--io", "int8"),
            "--io int8 is of files in which everything is int8, not of fp32; give",
        ),
        (("--precision", "int8-dynamic", "--io", "int8"), "not of int8-dynamic"),
        (("--precision", "int8", "--io", "uint8"), "io: it takes float32 or int8"),
    ],
)
def test_a_precision_that_is_not_there_is_refused(
    options: tuple[str, ...], says: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", tmp_path / "run")
    assert amc_hw("compress", *task, *options) == 2
    assert says in capsys.readouterr().err


def test_a_run_with_int8_in_and_out(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    task = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--macs", "0.6x", "--run", folder)
    task = (*task, "--precision", "int8", "--io", "int8", "--episodes", 3, "--epochs", 0, "--strategy", "random")
    assert amc_hw("compress", *task) == 0
    assert "take and give int8" in capsys.readouterr().out
    whole, plain = (folder / "model.tflite", folder / "original-int8.tflite"), (folder / "original.tflite",)
    for file, kind in (*[(each, np.int8) for each in whole], *[(each, np.float32) for each in plain]):
        interpreter = Interpreter(str(file))
        assert interpreter.get_input_details()[0]["dtype"] == kind
        assert interpreter.get_output_details()[0]["dtype"] == kind
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["io"] == "int8"
    assert min(each["accuracy"] for each in (summary["compressed"], *summary["others"].values())) > 0.6
    assert amc_hw("evaluate", whole[0], "--data", "digits", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == summary["compressed"]["accuracy"]
    assert amc_hw("benchmark", *whole, "--repeats", 1, "--out", tmp_path / "times.json") == 0
    assert "take and give int8" in (folder / "report.html").read_text()
    kinds = FORMATS["tflite"].read(whole[0].read_bytes()).kinds
    assert amc_hw("export", "--run", folder) == 0
    assert FORMATS["tflite"].read(whole[0].read_bytes()).kinds == kinds
    assert amc_hw("compress", *task, "--io", "float32") == 2
    assert "is a run with io 'int8', not 'float32'" in capsys.readouterr().err


def test_another_precision_is_another_run(
    run: Path, ending: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--macs", "0.5x", "--run", run)
    other = ("--device", DEVICES[ending], "--precision", "fp32", "--episodes", 8, "--epochs", 1)
    assert amc_hw("compress", *task, *other) == 2
    assert "precision" in capsys.readouterr().err
