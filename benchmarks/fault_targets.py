"""What reads a damaged file, and whether what came of it is right, another valid answer, a clear error or a fault.

Run by `faults.py` in a process of its own, which a crash or a memory blow-up may end:

    python benchmarks/fault_targets.py FOLDER KIND SEED FIRST COUNT [KEEP]

prints a line of JSON for every file; with KEEP, the damaged files stay there.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from fault_mutators import BYTES, JSON, TEXT, Mutator, with_code
from simulated_cli import TESTS
from torch import nn

from amc_hw.data.dataset import load_data
from amc_hw.errors import AmcHwError
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.models.zoo import build_model
from amc_hw.profiling.import_logs import import_logs
from amc_hw.profiling.logged_files import logged_networks
from amc_hw.report.html import report_context
from amc_hw.report.run import read_run
from amc_hw.runs.begun import read_config
from amc_hw.runs.folder import RunFolder
from amc_hw.search.study import read_study
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe
from amc_hw.training.state import History

KINDS = ("logs", "tables", "run folders", "checkpoints", "graph files")
TINY = f"{TESTS / 'support' / 'tiny.py'}:tiny"
LIMIT_S, MEMORY = 30, 4 * 2**30
LONGEST_MESSAGE = 2000
PHONE = Fingerprint(
    device="phone",
    processor="p",
    system="s",
    runtime="tflite",
    runtime_version="1",
    threads=1,
    cores="0",
    delegate="none",
)
Reader = Callable[[Path], Any]


@dataclass(frozen=True)
class Target:
    """A file to damage, how, and everything that reads it; each reader answers for itself."""

    file: Path
    mutators: tuple[Mutator, ...]
    readers: tuple[Reader, ...]


class HangError(Exception):
    """A reader took too long."""


def targets(folder: Path, kind: str, canary: Path) -> list[Target]:
    """Return the files of a kind in a folder that `faults.py` has filled."""
    run = folder / "run"
    if kind == "logs":
        reader = LogReader(run / "original.tflite")
        return [Target(folder / "benchmark.log", TEXT, (reader,))]
    if kind == "tables":
        return [Target(run / "table.json", JSON, (table_answers(run / "original.tflite"),))]
    if kind == "run folders":
        readers = (of_run(read_whole), of_run(read_config), of_run(policy_of), of_run(misses_of), of_run(report_of))
        study = (lambda file: read_study(file.parent / "episodes.jsonl").top(3),)
        names = ("config", "policy", "summary", "benchmark", "finetune")
        files = [*(f"{name}.json" for name in names), "episodes.jsonl", "misses.jsonl"]
        return [Target(run / name, JSON, readers + study * (name == "episodes.jsonl")) for name in files]
    if kind == "checkpoints":
        mutators, state = (*BYTES, with_code(canary)), folder / "training.state"
        return [Target(run / "baseline.pt", mutators, (weights,)), Target(state, mutators, (goes_on(run),))]
    return [
        Target(file, BYTES if file.suffix != ".aten" else (*BYTES, with_code(canary)), (runs, operators))
        for file in sorted(folder.glob("net.*"))
    ]


class LogReader:
    """A log to the latency of the network that a table made of it predicts."""

    def __init__(self, network: Path) -> None:
        self.network = network

    def __call__(self, file: Path) -> Any:
        networks = logged_networks([file], [], str(self.network), None)
        table = import_logs(networks, PHONE, "a log")
        return [round(Predictor(table).network_ms(networks[0].operators), 6), table.model_dump(exclude={"created"})]


def table_answers(network: Path) -> Reader:
    known = FORMATS["tflite"].read(network.read_bytes()).operators()

    def answer(file: Path) -> Any:
        table = load_table(file)
        predicted = Predictor(table).network_ms(known)
        assert 0 < predicted < float("inf"), f"predicts {predicted} ms"
        return [predicted, table.model_dump()]

    return answer


def of_run(reader: Reader) -> Reader:
    return lambda file: repr(reader(file.parent))


def read_whole(run: Path) -> Any:
    return read_run(RunFolder(run))


def policy_of(run: Path) -> Any:
    return RunFolder(run).policy.read()


def misses_of(run: Path) -> Any:
    return RunFolder(run).misses.read()


def report_of(run: Path) -> Any:
    drawn = Random(str(run.stat().st_mtime_ns)).random() < 0.05
    return sorted(report_context(read_run(RunFolder(run)))) if drawn else None


def weights(file: Path) -> Any:
    model = build_model(TINY, 10, 1)
    load_checkpoint(model, file)
    return {key: tensor.tolist() for key, tensor in model.state_dict().items()}


def learned(model: nn.Module, state: Path) -> History:
    """Train for one epoch, or find what was learned in the state of that."""
    return train(model, load_data("digits"), Recipe(epochs=1, lr=0.01), state_path=state)


def goes_on(run: Path) -> Reader:
    """A finished training's state: what it has learned is found again, or the state is refused."""
    model = build_model(TINY, 10, 1)
    load_checkpoint(model, run / "baseline.pt")

    def answer(file: Path) -> Any:
        trained = copy.deepcopy(model)
        history = learned(trained, file)
        return [history, {key: tensor.tolist() for key, tensor in trained.state_dict().items()}]

    return answer


def runs(file: Path) -> Any:
    images = np.random.default_rng(0).random((1, 1, 32, 32), np.float32)
    model = load_file(file)
    return model(images).tolist() if model.image_size == images.shape[1:] else f"takes {model.image_size}"


def operators(file: Path) -> Any:
    return repr(FORMATS[file.suffix[1:]].read(file.read_bytes()).operators())


class Judge:
    """Damages files of one kind and says what came of each."""

    def __init__(self, folder: Path, kind: str, scratch: Path) -> None:
        self.canary = scratch / "canary"
        self.targets = targets(folder, kind, self.canary)
        self.originals = [target.file.read_bytes() for target in self.targets]
        self.right = [[self.asked(reader, target.file) for reader in target.readers] for target in self.targets]
        for answers in self.right:
            assert all(told == "answer" for told, _ in answers), answers

    def outcome(self, seed: int, kind: str, number: int, keep: Path | None) -> dict[str, Any]:
        random = Random(f"{seed} {kind} {number}")
        place = random.randrange(len(self.targets))
        target, mutator = self.targets[place], random.choice(self.targets[place].mutators)
        damaged = mutator(self.originals[place], random)
        if random.random() < 0.2 and damaged:
            damaged = random.choice(target.mutators)(damaged, random)
        if keep is not None:
            (keep / f"{number}-{target.file.name}").write_bytes(damaged)
        told = []
        for reader in target.readers:
            target.file.write_bytes(damaged)
            told.append(self.asked(reader, target.file))
        target.file.write_bytes(self.originals[place])
        result = {"number": number, "file": target.file.name, "mutator": getattr(mutator, "__name__", "?")}
        if self.canary.exists():
            self.canary.unlink()
            return {**result, "outcome": "fault", "why": "code of the file was run"}
        for what in ("fault", "error"):
            if found := [why for outcome, why in told if outcome == what]:
                return {**result, "outcome": what, "why": found[0]}
        return {**result, "outcome": "right" if told == self.right[place] else "other"}

    @staticmethod
    def asked(reader: Reader, file: Path) -> tuple[str, Any]:
        signal.alarm(LIMIT_S)
        try:
            return "answer", repr(reader(file))
        except AmcHwError as error:
            message = str(error)
            if len(message) > LONGEST_MESSAGE or len(message.encode(errors="replace").splitlines()) != 1:
                return "fault", f"the message is no sentence: {message[:200]!r}"
            return "error", message
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in place if "amc_hw" in frame.filename or "profilers" in frame.filename] or place
            where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}"
            return "fault", f"{type(error).__name__} in {where}: {str(error)[:150]}"
        finally:
            signal.alarm(0)


def hang(*_: object) -> None:
    raise HangError(f"over {LIMIT_S} s")


def main(folder: str, kind: str, seed: str, first: str, count: str, keep: str = "") -> None:
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    signal.signal(signal.SIGALRM, hang)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with tempfile.TemporaryDirectory() as scratch:
        own = Path(scratch) / "files"
        shutil.copytree(folder, own)
        judge = Judge(own, kind, Path(scratch))
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        for number in range(int(first), int(first) + int(count)):
            outcome = judge.outcome(int(seed), kind, number, Path(keep) if keep else None)
            print(json.dumps(outcome), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
