"""The whole way on a tiny network, measured on this machine, and what survives a kill."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw, start_amc_hw


@pytest.fixture(scope="module")
def run(checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        status = amc_hw(
            *("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--latency", "0.6x"),
            *("--precision", "fp32"),
            *("--episodes", 12, "--epochs", 2, "--run", folder),
        )
    assert status == 0
    return folder


def test_budget_is_held_on_the_device(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    chosen = json.loads((run / "policy.json").read_text())
    measured = next(each for each in chosen["candidates"] if each["channels"] == chosen["channels"])
    assert measured["measured_ms"] <= 0.6 * measured["original_ms"]
    assert summary["compressed"]["latency_ms"] < summary["original"]["latency_ms"]
    assert summary["compressed"]["macs"] < summary["original"]["macs"]
    target = pytest.approx(0.6 * summary["original"]["latency_ms"])
    assert summary["budget"] == {"metric": "latency_ms", "ratio": 0.6, "target": target}
    assert summary["unverified"] is False


def test_folder_has_everything(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        *("config.json", "table.json", "episodes.jsonl", "policy.json", "pruned.pt", "model.pt", "model.tflite"),
        *("original.tflite", "benchmark.json", "summary.json", "report.html", "baseline.pt"),
    } <= names
    benchmark = json.loads((run / "benchmark.json").read_text())
    assert [model["name"] for model in benchmark["models"]] == ["original", "compressed"]
    for model in benchmark["models"]:
        assert {len(repeat["samples_us"]) for repeat in model["repeats"]} == {200}
        assert len(model["repeats"]) % 3 == 0
    page = (run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert f"{json.loads((run / 'summary.json').read_text())['compressed']['accuracy']:.2%}".rstrip("%") in page


def test_same_command_again_repeats_nothing(run: Path, checkpoint: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("episodes.jsonl", "policy.json", "pruned.pt")}
    assert amc_hw("evaluate", "--run", run) == 0
    assert amc_hw("export", "--run", run, "--format", "torch") == 0
    assert amc_hw("finetune", "--run", run, "--epochs", 2) == 0
    assert amc_hw("report", "--run", run, "--json") == 0
    assert before == {name: (run / name).read_bytes() for name in before}


def test_exported_program_and_file_agree(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert amc_hw("evaluate", run / "model.tflite", "--data", "digits", "--json") == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["accuracy"] == json.loads((run / "summary.json").read_text())["compressed"]["accuracy"]


def test_a_finished_finetuning_needs_its_state_no_more(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    assert amc_hw("finetune", "--run", copy, "--epochs", 2) == 0
    (copy / "finetune-2.state").write_bytes(b"cut")
    before = (copy / "model.pt").read_bytes()
    assert amc_hw("finetune", "--run", copy, "--epochs", 2) == 0
    assert (copy / "model.pt").read_bytes() == before
    other = {key: tensor + 1 for key, tensor in torch.load(copy / "pruned.pt", weights_only=True).items()}
    torch.save(other, copy / "model.pt")  # weights of something else
    assert amc_hw("finetune", "--run", copy, "--epochs", 2) == 1


def test_run_of_another_model_is_refused_and_kept(run: Path, checkpoint: Path, capsys) -> None:
    before = (run / "config.json").read_bytes()
    status = amc_hw(
        *("search", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--latency", "0.4x"),
        *("--precision", "fp32"),
        *("--episodes", 12, "--run", run),
    )
    assert status != 0
    assert "0.6x" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("baseline.pt", lambda content: content[:-100]),
        ("pruned.pt", lambda content: content[: len(content) // 2] + b"!" + content[len(content) // 2 + 1 :]),
        ("model.pt", lambda content: b""),
        ("policy.json", lambda content: b"[]"),
        ("policy.json", lambda content: b"{}"),
        ("config.json", lambda content: b"{}"),
    ],
)
def test_a_damaged_file_of_the_run_is_named_with_the_cure(run: Path, tmp_path: Path, capsys, name, damage) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / name).write_bytes(damage((copy / name).read_bytes()))
    if name == "pruned.pt":  # of a run that is not fine-tuned yet
        (copy / "model.pt").unlink()
        (copy / "finetune.json").unlink()
    assert amc_hw("export", "--run", copy) == 1
    told = capsys.readouterr().err
    assert f"{copy / name} is damaged" in told.replace("\n", " ")
    assert "delete it and make it again with: amc-hw" in told


def test_killed_search_ends_with_the_policy_of_the_undisturbed_one(run: Path, checkpoint: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "table.json").write_bytes((run / "table.json").read_bytes())
    command = (
        *("search", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--latency", "0.6x"),
        *("--precision", "fp32"),
        *("--episodes", 12, "--run", killed),
    )
    pause = random.Random(0)
    for _ in range(2):
        process = start_amc_hw(*command)
        log, deadline = killed / "episodes.jsonl", time.monotonic() + 60
        lines = log.read_text().count("\n") if log.exists() else 0
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and log.read_text().count("\n") > lines + pause.randint(1, 4):
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert amc_hw(*command) == 0

    def episodes(folder: Path) -> list[tuple[dict[str, int], float]]:
        lines = (folder / "episodes.jsonl").read_text().splitlines()[1:]
        return [(json.loads(line)["channels"], json.loads(line)["accuracy"]) for line in lines]

    assert episodes(killed) == episodes(run)


@pytest.mark.parametrize("floor", ["0.5", "0.9999"])
def test_a_floor_under_the_accuracy(run: Path, checkpoint: Path, tmp_path: Path, capsys, floor: str) -> None:
    folder = tmp_path / "floor"
    folder.mkdir()
    (folder / "table.json").write_bytes((run / "table.json").read_bytes())
    status = amc_hw(
        *("search", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--macs", "0.5x", "--json"),
        *("--reward", "accuracy_guaranteed", "--accuracy-floor", floor, "--episodes", 8, "--run", folder),
    )
    told = capsys.readouterr()
    if floor == "0.9999":
        assert status == 2
        assert "original network's accuracy" in told.err
        assert "give a lower --accuracy-floor" in told.err
        assert not (folder / "episodes.jsonl").exists()
        return
    assert status == 0
    policy = json.loads(told.out)
    kept = policy["candidates"][0]["score"] >= float(floor)
    assert any("under the floor" in warning for warning in policy["warnings"]) != kept
    settings = json.loads((folder / "episodes.jsonl").read_text().splitlines()[0])["settings"]
    assert settings["accuracy_floor"] == float(floor)


def test_a_trained_agent_begins_the_search_for_another_budget(run: Path, checkpoint: Path, tmp_path: Path) -> None:
    def search(folder: Path, *more: object) -> int:
        folder.mkdir(exist_ok=True)
        (folder / "table.json").write_bytes((run / "table.json").read_bytes())
        return amc_hw(
            *("search", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", folder),
            *("--strategy", "ddpg-multi", "--episodes", 4, *more),
        )

    first, other = tmp_path / "first", tmp_path / "other"
    assert search(first, "--macs", "0.5x") == 0
    assert search(other, "--macs", "0.4x", "--agent", first) == 0
    assert (other / "agent-first.pt").read_bytes() == (first / "agent.pt").read_bytes()
    episodes, trained = (other / "episodes.jsonl").read_bytes(), (other / "agent.pt").read_bytes()
    (first / "agent.pt").unlink()
    (other / "policy.json").unlink()
    assert search(other, "--macs", "0.4x", "--agent", first) == 0  # from its own copy
    assert (other / "episodes.jsonl").read_bytes() == episodes
    assert (other / "agent.pt").read_bytes() == trained


def test_interrupt_says_how_to_go_on(checkpoint: Path, tmp_path: Path) -> None:
    process = start_amc_hw(
        *("search", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--latency", "0.6x"),
        *("--precision", "fp32"),
        *("--episodes", 500, "--run", tmp_path / "run"),
    )
    log = tmp_path / "run" / "episodes.jsonl"
    deadline = time.monotonic() + 90
    while not (log.exists() and log.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        _, messages = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 130
    assert b"goes on from here" in messages
    assert b"Traceback" not in messages
