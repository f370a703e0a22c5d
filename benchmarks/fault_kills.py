"""Kills commands at random moments: the same command then ends with what an undisturbed one ends with."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from simulated_cli import TESTS

from amc_hw.latency.read_table import load_table

CLI = [sys.executable, str(Path(__file__).with_name("simulated_cli.py"))]
TINY = f"{TESTS / 'support' / 'tiny.py'}:tiny"
CLOCKS = {"seconds", "created", "command", "versions", "file", "artifacts", "table"}
"""What tells the time or the place of a run, not what came of it."""
LOGS = {"log.txt"}


@dataclass(frozen=True)
class Stage:
    """A command in a folder of its own.

    Attributes:
        name: of the work.
        begin: prepares the folder.
        command: what is killed and started again.
        result: what came of it.
    """

    name: str
    begin: Callable[[Path], object]
    command: Callable[[Path], list[str]]
    result: Callable[[Path], Any]


def stages(prepared: Path) -> list[Stage]:
    """Return what is killed; `prepared` is what `faults.py` has filled."""
    network = ["--model", TINY, "--checkpoint", str(prepared / "tiny.pt"), "--data", "digits"]
    recorded = ["--device", "recorded", "--table", str(prepared / "recorded.json")]
    simulated = ["--device", "simulated", "--table"]

    def unlearned(folder: Path) -> None:
        shutil.copytree(prepared / "run", folder / "run")
        for file in ("model.pt", "finetune.json", *(file.name for file in (folder / "run").glob("finetune-*.state"))):
            (folder / "run" / file).unlink()

    return [
        Stage(
            "profile",
            lambda folder: None,
            lambda folder: ["profile", "--model", TINY, "--image-size", "28", *simulated, str(folder / "table.json")],
            profiled,
        ),
        Stage(
            "search",
            lambda folder: shutil.copy(prepared / "recorded.json", folder / "table.json"),
            lambda folder: [
                *("search", *network, *simulated, str(folder / "table.json")),
                *("--latency", "0.6x", "--episodes", "12", "--run", str(folder / "run")),
            ],
            everything,
        ),
        Stage(
            "fine-tuning",
            unlearned,
            lambda folder: ["finetune", "--run", str(folder / "run"), "--epochs", "3", "--compute", "cpu"],
            everything,
        ),
        Stage(
            "sweep",
            lambda folder: None,
            lambda folder: [
                *("sweep", *network, *recorded, "--latency", "0.5x,0.7x", "--jobs", "2", "--compute", "cpu"),
                *("--episodes", "6", "--epochs", "1", "--out", str(folder / "sweep")),
            ],
            everything,
        ),
    ]


def kill(prepared: Path, stage: Stage, undisturbed: tuple[float, Any], folder: Path, random: Random) -> str:
    """Kill a command at a random moment, start it again, and say what is wrong with its end, or nothing."""
    seconds, expected = undisturbed
    folder.mkdir()
    stage.begin(folder)
    with (folder / "killed.txt").open("wb") as log:
        process = subprocess.Popen([*CLI, *stage.command(folder)], stdout=log, stderr=log)
        time.sleep(random.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
    try:
        done = run(stage.command(folder), 120 + 10 * seconds)
    except subprocess.TimeoutExpired:
        return "the same command hung"
    if done.returncode:
        return f"the same command ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    return difference(expected, stage.result(folder))


def measure(stage: Stage, folder: Path) -> tuple[float, Any]:
    """Run a command undisturbed; return its seconds and its result."""
    folder.mkdir()
    stage.begin(folder)
    start = time.monotonic()
    done = run(stage.command(folder), 600)
    if done.returncode:
        raise SystemExit(f"{stage.name} failed undisturbed: {done.stderr}")
    return time.monotonic() - start, stage.result(folder)


def run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *command], capture_output=True, text=True, timeout=timeout)


def profiled(folder: Path) -> Any:
    """A table is as complete, whichever networks it was made from, and knows the same time of the same operator."""
    table = load_table(folder / "table.json")
    facts = [sorted(table.families()), len(table.calibration), sorted(table.errors), table.notes]
    return {"facts": facts, "times": {entry.key: round(entry.mean_us, 6) for entry in table.entries}}


def everything(folder: Path) -> Any:
    """What the files of run folders hold, but for clocks and what people read."""
    return {
        str(file.relative_to(folder)): content(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not file.name.startswith((".", "events."))
        and file.parent != folder
        and file.name not in LOGS
    }


def content(file: Path) -> Any:
    if file.suffix == ".json":
        return without_clocks(json.loads(file.read_text()))
    if file.suffix == ".jsonl":
        return [without_clocks(json.loads(line)) for line in file.read_text().splitlines()]
    if file.suffix in (".pt", ".state"):
        return digest(torch.load(file, weights_only=True))
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.suffix == ".tflite" else "there"


def without_clocks(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: without_clocks(value) for key, value in document.items() if key not in CLOCKS}
    return [without_clocks(value) for value in document] if isinstance(document, list) else document


def digest(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return hashlib.sha256(state.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(state, dict):
        return {key: digest(value) for key, value in state.items()}
    return [digest(value) for value in state] if isinstance(state, list) else state


def difference(expected: Any, found: Any) -> str:
    """Say what differs; of times, only those that both know may."""
    if "times" in expected:
        shared = expected["times"].keys() & found["times"].keys()
        wrong = [key for key in shared if expected["times"][key] != found["times"][key]]
        return f"other times of {wrong[0]}" if wrong else "" if expected["facts"] == found["facts"] else "another table"
    files = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    return f"other content of {', '.join(files)}" if files else ""
