"""Runs of a sweep side by side: logs, failures, and no process that outlives the sweep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from amc_hw.runs.config import make_config
from amc_hw.runs.file_names import SHOWN
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.sweep import jobs as module
from amc_hw.sweep.jobs import run_all
from amc_hw.sweep.plan import plan_sweep
from amc_hw.sweep.sweep import sweep

STAND_IN = """
import json, os, sys, time
from pathlib import Path
from amc_hw.sweep import child as sweep_child
from amc_hw.runs.files import append_line, write_json
order = sweep_child.read_order()
run, config = Path(order["run"]), order["config"]
try:
    append_line(run.parent / "begun.jsonl", [run.name, time.monotonic(), os.getpid()])
    print("compressing for", config["budget"], flush=True)
    if config["budget"] == "0.1x":
        sys.exit("error: a budget of 0.1x cannot be reached.")
    if config["budget"] == "0.2x":
        os.kill(os.getpid(), 9)
    time.sleep(60 if config["budget"] == "0.9x" else 0.3)
    together, deadline = run.parent / "together", time.monotonic() + 60
    while together.exists() and len((run.parent / "begun.jsonl").read_text().splitlines()) < int(together.read_text()):
        assert time.monotonic() < deadline, "one waited for the other"
        time.sleep(0.02)
    share = float(config["budget"].rstrip("x"))
    made = {"latency_ms": share, "predicted_ms": share, "accuracy": 0.9 + 0.05 * share}
    write_json(run / "config.json", config)
    write_json(run / "summary.json", {
        "format": 1, "model": "m", "data": "digits",
        "budget": {"metric": "latency_ms", "target": share, "ratio": share},
        "original": {"accuracy": 0.97, "latency_ms": 1.0}, "compressed": made,
    })
finally:
    append_line(run.parent / "ended.jsonl", [run.name, time.monotonic()])
"""
"""Stands in for a run: the budget says how it goes."""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", [sys.executable, "-c", STAND_IN])
    monkeypatch.setattr(module, "POLL_S", 0.02)


def lines(file: Path) -> list[list]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc").is_dir() else True


def test_runs_go_side_by_side_and_finished_ones_are_not_repeated(tmp_path: Path) -> None:
    base, shown = make_config(model="m", data="digits", episodes=5, epochs=1), []
    budgets = ["0.1x", "0.2x", "0.5x", "0.7x"]
    (tmp_path / "together").write_text("4")  # none ends well before all have begun
    plan = plan_sweep(tmp_path, base, budgets, 1)
    rows = sweep(tmp_path, plan, Progress(lambda update: shown.append(update.note)), jobs=4)
    assert rows[0].error == "a budget of 0.1x cannot be reached."
    assert "signal 9" in rows[1].error
    assert [row.on_front for row in rows] == [False, False, True, True]
    assert len(lines(tmp_path / "begun.jsonl")) == 4
    assert (tmp_path / "0.7x-seed0" / SHOWN).read_text() == "compressing for 0.7x\n"
    assert "compressing for 0.7x [0.7x-seed0]" in shown
    again = sweep(tmp_path, plan, SILENT, jobs=2)
    assert again[2:] == rows[2:]
    assert sorted(name for name, *_ in lines(tmp_path / "begun.jsonl")[4:]) == ["0.1x-seed0", "0.2x-seed0"]


def test_no_more_than_asked_for_run_at_a_time(tmp_path: Path) -> None:
    base = make_config(model="m", data="digits")
    runs = {tmp_path / f"{n}": base.model_copy(update={"budget": f"0.{n}x"}) for n in (4, 5, 6)}
    assert run_all(runs, 2, "cpu", SILENT) == {}
    begun, ended = lines(tmp_path / "begun.jsonl"), lines(tmp_path / "ended.jsonl")
    assert begun[2][1] > ended[0][1]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_run_outlives_its_sweep(tmp_path: Path, end: signal.Signals) -> None:
    # The tests' own shell may have them in the background, where Ctrl-C is ignored, or not.
    interrupted = "default_int_handler" if end == signal.SIGINT else "SIG_IGN"
    script = f"""
import signal
import sys
signal.signal(signal.SIGINT, signal.{interrupted})
from pathlib import Path
from amc_hw.sweep import jobs as sweep_jobs
from amc_hw.runs.config import make_config
from amc_hw.runs.progress import SILENT
sweep_jobs.COMMAND = {module.COMMAND!r}
base, folder = make_config(model="m", data="digits"), Path({str(tmp_path)!r})
long = base.model_copy(update={{"budget": "0.9x"}})
sweep_jobs.run_all({{folder / "a": long, folder / "b": long}}, 2, "cpu", SILENT)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    until(lambda: len(lines(tmp_path / "begun.jsonl")) == 2)
    process.send_signal(end)
    process.wait(timeout=120)
    pids = [pid for _, _, pid in lines(tmp_path / "begun.jsonl")]
    until(lambda: not any(map(is_running, pids)))
    assert {name for name, _ in lines(tmp_path / "ended.jsonl")} == {"a", "b"}, "they were not let clean up"
    assert not list(tmp_path.glob("*/summary.json")), "they were waited for"


def test_a_real_run_says_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    missing = make_config(model="resnet20", data="digits", device="onyx")
    (row,) = sweep(tmp_path / "out", plan_sweep(tmp_path / "out", missing, ["0.5x"], 1), SILENT, jobs=2)
    assert row.summary is None
    assert "did you mean 'onnx'" in row.error
    assert "error: unknown device 'onyx'" in (tmp_path / "out" / "0.5x-seed0" / SHOWN).read_text()
