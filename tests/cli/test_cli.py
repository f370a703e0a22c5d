"""Wrong input gets one sentence and the right exit status, and nothing is lost by it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from commands import TINY, amc_hw

from amc_hw.runs.begun import open_run
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.summaries import BudgetFigures, Figures, Summary

COMMANDS = (
    *(
        "devices",
        "train",
        "profile",
        "search",
        "finetune",
        "export",
        "evaluate",
        "benchmark",
        "report",
        "compress",
        "sweep",
        "sparsify",
    ),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert amc_hw(command, "--help") == 0
    assert f"Example: amc-hw {command}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compress", "--model", "resnet21", "--run", "RUN"), "did you mean 'resnet"),
        (("compress", "--model", "torchvision:resnet81", "--run", "RUN"), "did you mean"),
        (("compress", "--model", "nowhere.py:net", "--run", "RUN"), "nowhere.py"),
        (("compress", "--data", "digit", "--run", "RUN"), "did you mean 'digits'"),
        (("compress", "--device", "hots", "--run", "RUN"), "did you mean 'host'"),
        (("compress", "--device", "host:threads=99", "--run", "RUN"), "cores"),
        (("compress", "--strategy", "dpg", "--run", "RUN"), "did you mean 'ddpg'"),
        (("search", "--importance", "tailor", "--run", "RUN"), "did you mean 'taylor'"),
        (("compress", "--reward", "resorce", "--run", "RUN"), "did you mean 'resource'"),
        (("compress", "--accuracy-floor", "0.9", "--run", "RUN"), "--reward accuracy_guaranteed"),
        (("search", "--reward", "accuracy_guaranteed", "--accuracy-floor", "90", "--run", "RUN"), "--accuracy-floor:"),
        (("search", "--agent", "RUN", "--run", "RUN"), "add --strategy ddpg-multi"),
        (("search", "--strategy", "ddpg-multi", "--agent", "gone", "--run", "RUN"), "gone/agent.pt does not exist"),
        (
            ("compress", "--strategy", "ddpg-multi", "--agent", "gone", "--rounds", "0.8x", "--run", "RUN"),
            "leave --agent or --rounds out",
        ),
        (("compress", "--exclude", "clasifier", "--run", "RUN"), "nearest names are classifier"),
        (("compress", "--latency", "3x", "--run", "RUN"), "less than 1x"),
        (("compress", "--latency", "fast", "--run", "RUN"), "0.5x or 12ms"),
        (("compress", "--latency", "0.5xint8", "--run", "RUN"), "0.5x-int8 is a share"),
        (("compress", "--latency", "0.5x", "--size", "2ms", "--run", "RUN"), "0.5x or 500kB"),
        (("compress", "--model", "resnet20", "--run", "RUN"), "--checkpoint"),
        (("compress", "--checkpoint", "gone.pt", "--run", "RUN"), "gone.pt"),
        (("compress", "--data", "npz:nowhere", "--run", "RUN"), "nowhere"),
        (("evaluate",), "--run"),
        (("evaluate", "gone.tflite", "--data", "digits"), "gone.tflite"),
        (("benchmark", "gone.tflite"), "gone.tflite"),
        (("benchmark", "README.md", "--device", "host:threads=²"), "a whole number from 1"),
        (("table", "show", "gone.json"), "gone.json"),
        (("table", "show", "pixel7"), "nor a shipped table (epyc-zen5, pixel1"),
        (("table", "merge", "a.json", "b.json", "--out", "b.json"), "is one of the files to read"),
        (("table", "merge", "a.json", "b.json", "--out", "pyproject.toml"), "no latency table"),
        (
            ("table", "import", "a.txt", "--model", "mobilenet_v1", "--device-name", "x", "--out", "a.txt"),
            "is one of the files to read",
        ),
        (
            ("search", "--device", "pixel1", "--table", "other.json", "--run", "RUN"),
            "called like it: pixel1.json",
        ),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    status = amc_hw(*(str(run) if argument == "RUN" else argument for argument in arguments))
    message = " ".join(capsys.readouterr().err.split())
    assert status == 2, message
    assert says in message
    assert message.startswith("error: ")
    assert "Traceback" not in message
    assert not run.exists()


def test_files_of_another_format_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    file = tmp_path / "net.onnx"
    file.write_bytes(b"an ONNX file")
    assert amc_hw("benchmark", file, "--device", "host") == 2
    assert "is no .tflite file, which is what 'host' runs" in " ".join(capsys.readouterr().err.split())


def test_foreign_checkpoint_says_which_tensors_differ(checkpoint: Path, tmp_path: Path, capsys) -> None:
    status = amc_hw("compress", "--checkpoint", checkpoint, "--run", tmp_path / "run")
    assert status == 2
    assert "conv2.0.weight" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize(("took_ms", "status"), [(0.5, 0), (0.51, 3)])
def test_a_missed_budget_has_a_status_of_its_own(
    took_ms: float,
    status: int,
    options: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compress(run: Path, config: RunConfig, *_: object) -> Summary:
        open_run(run, config)
        budget = BudgetFigures(metric="latency_ms", target=0.5, ratio=0.5)
        summary = Summary(budget=budget, original=Figures(latency_ms=1.0), compressed=Figures(latency_ms=took_ms))
        RunFolder(run).summary.write(summary)
        return summary

    monkeypatch.setattr("amc_hw.pipeline.compress.compress", compress)
    assert amc_hw("compress", "--latency", "0.5x", "--run", tmp_path / "run", *options) == status
    assert ("the budget is missed" in capsys.readouterr().err) == (status == 3)


@pytest.mark.parametrize("command", ["finetune", "export", "report"])
def test_missing_run_names_the_cure(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert amc_hw(command, "--run", tmp_path / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err


def test_impossible_budget_names_the_least_reachable(checkpoint: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    arguments = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--latency", "0.01x")
    assert amc_hw("search", *arguments, "--run", run) == 2
    assert re.search(r"ms \(0\.01x\) cannot be reached; the least .* ms \(0\.\d+x\)", capsys.readouterr().err)
    assert json.loads((run / "table.json").read_text())["entries"]


def test_truncated_table_is_refused_and_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.json"
    table.write_text('{"format": 1, "entries": [{"family')
    assert amc_hw("profile", "--model", TINY, "--image-size", 32, "--table", table) == 2
    assert "cut short" in capsys.readouterr().err
    assert table.read_text() == '{"format": 1, "entries": [{"family'


def test_no_write_permission(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    folder = tmp_path if os.geteuid() else Path("/sys")  # root may write everywhere else
    arguments = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits")
    assert amc_hw("search", *arguments, "--run", folder / "run") == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--out", "gone/runs/tiny.pt"),
        ("search", "--run", "gone/runs/r20"),
        ("compress", "--run", "gone/runs/r20"),
        ("sparsify", "--run", "gone/runs/r20"),
        ("sweep", "--latency", "0.5x", "--out", "gone/runs/sweep"),
        ("profile", "--table", "gone/runs/table.json"),
        ("benchmark", "README.md", "--out", "gone/runs/benchmark.json"),
        ("report", "one", "other", "--out", "gone/runs/compare.html"),
        ("table", "show", "pixel1", "--plot", "gone/runs/layer.html", "--layer", "14x14xC k=1x1"),
        ("table", "check", "--model", "resnet20", "--plot", "gone/runs/errors.html"),
        ("table", "merge", "pixel1", "pixel1", "--out", "gone/runs/both.json"),
        ("table", "import", "README.md", "--model", "mobilenet_v1", "--device-name", "x", "--out", "gone/runs/t.json"),
    ],
)
def test_results_for_a_folder_that_is_far_from_there_are_refused_before_the_work(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert amc_hw(*arguments) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "there is no folder gone" in message
    assert "mkdir -p gone" in message
    assert not Path("gone").exists()


def test_a_folder_that_is_made_for_a_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "nets" / "tiny.pt"
    assert amc_hw("train", "--model", TINY, "--epochs", 1, "--out", place) == 0
    assert f"the folder {place.parent} does not exist yet" in " ".join(capsys.readouterr().err.split())
    assert place.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    from amc_hw.errors import RunFolderError
    from amc_hw.runs.files import append_line

    (tmp_path / "episodes.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunFolderError, match="No space left"):
        append_line(tmp_path / "episodes.jsonl", {"episode": 0})


def test_devices_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert amc_hw("devices", "--json") == 0
    assert any(device["name"] == "host" for device in json.loads(capsys.readouterr().out))
