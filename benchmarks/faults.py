"""Counts faults by making accidents happen: kills, lost connections, damaged files.

    python benchmarks/faults.py                                        # 50 kills, 50 lost connections, 100,000 files
    python benchmarks/faults.py --only kills --count 8 --seed 3
    python benchmarks/faults.py --only phone --hours 0.1               # as many as fit
    python benchmarks/faults.py --only mutations --kind tables --first 4711 --count 1 --keep DIR     # one of them again

A tiny network is trained and compressed on a simulated device; then

- profile, search, fine-tuning and a sweep are killed (SIGKILL) at random moments, and the same command has to end with
  the undisturbed result: policies, weights, files;
- the loopback phone of the tests loses its connection while it measures (needs mksh and toybox);
- logs, tables, run folders, checkpoints and graph files are damaged, and what reads them has to give the undisturbed
  answer, that of another valid file, or one sentence: no other exception, no crash, no 30 seconds, no code that is run.

Prints a table, and how to see each fault again. Exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from fault_kills import CLI, TINY, kill, measure, run, stages
from fault_phone import LoopbackPhone, lose
from fault_targets import KINDS, LIMIT_S, learned
from loopback_phone import why_not
from simulated_cli import TESTS
from torch import zeros

from amc_hw.formats.export import export as export_file
from amc_hw.formats.registry import FORMATS
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.models.zoo import build_model
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import Miss

COUNTS = {"kills": 50, "phone": 50, "mutations": 100_000}
LISTED = 20
Outcome = dict[str, Any]


def prepare(folder: Path) -> None:
    """Fill a folder with a trained network and a run of it."""
    network, run_folder, network_file = ["--model", TINY, "--data", "digits"], folder / "run", folder / "tiny.pt"
    compress = ["--checkpoint", str(network_file), "--device", "simulated", "--latency", "0.6x", "--episodes", "8"]
    for command in (
        ["train", *network, "--epochs", "6", "--out", str(network_file)],
        ["compress", *network, *compress, "--epochs", "1", "--run", str(run_folder), "--compute", "cpu"],
    ):
        if (done := run(command, 600)).returncode:
            raise SystemExit(f"{' '.join(CLI + command)}: {done.stderr}")
    add_files(folder)


def add_files(folder: Path) -> None:
    """Add what that run has not left: a miss, the network in every format, a training's state, and a log."""
    run_folder = folder / "run"
    shutil.copy(run_folder / "table.json", folder / "recorded.json")
    files = RunFolder(run_folder)
    files.misses.append(Miss(channels=files.policy.read().channels, found=0.9, used=1.02))
    model = build_model(TINY, 10, 1).eval()
    load_checkpoint(model, folder / "tiny.pt")
    for name in FORMATS:
        export_file(model, zeros(1, 1, 32, 32), folder / f"net.{name}")
    learned(model, folder / "training.state")
    loopback = TESTS / "loopback"
    flags = ["--enable_op_profiling=true", "--warmup_runs=100", "--num_runs=200", "--min_secs=0", "--warmup_min_secs=0"]
    done = subprocess.run(
        [sys.executable, loopback / "benchmark_model.py", f"--graph={run_folder / 'original.tflite'}", *flags],
        env={**os.environ, "PYTHONPATH": f"{loopback}:{TESTS.parent / 'profilers'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    (folder / "benchmark.log").write_text(done.stdout)


def kills(prepared: Path, options: argparse.Namespace, deadline: float) -> Iterator[Outcome]:
    every = stages(prepared)
    undisturbed = {stage.name: measure(stage, prepared / f"undisturbed {stage.name}") for stage in every}
    for number in range(options.first, options.first + options.count):
        if time.monotonic() > deadline:
            return
        stage, folder = every[number % len(every)], prepared / f"killed {number}"
        why = kill(prepared, stage, undisturbed[stage.name], folder, Random(f"{options.seed} kill {number}"))
        if why and options.keep:
            shutil.copytree(folder, options.keep / folder.name)
        shutil.rmtree(folder)
        outcome = "fault" if why else "right"
        yield {"kind": f"kills: {stage.name}", "number": number, "outcome": outcome, "why": why}


def phone(prepared: Path, options: argparse.Namespace, deadline: float) -> Iterator[Outcome]:
    if reason := why_not():
        raise SystemExit(reason)
    network, number = (prepared / "net.tflite").read_bytes(), options.first
    os.environ["HOME"] = str(prepared)  # a key of its own
    with LoopbackPhone(prepared / "phone") as device:
        lost = 0
        while lost < options.count and time.monotonic() < deadline:
            found = lose(device, network, prepared, Random(f"{options.seed} phone {number}"))
            if found is not None:
                lost += 1
                yield {"kind": "lost connections", "number": number, **found}
            number += 1


def mutations(prepared: Path, options: argparse.Namespace, deadline: float) -> Iterator[Outcome]:
    kinds = [options.kind] if options.kind else KINDS
    share = -(-options.count // len(kinds))
    for place, kind in enumerate(kinds, start=1):
        until = time.monotonic() + (deadline - time.monotonic()) / (len(kinds) - place + 1)
        yield from mutated(prepared, kind, options, share, until)


def mutated(prepared: Path, kind: str, options: argparse.Namespace, count: int, deadline: float) -> Iterator[Outcome]:
    """Have files of a kind damaged and read in processes of their own; one that dies or hangs was a fault."""
    number, end = options.first, options.first + count
    program = [sys.executable, str(Path(__file__).with_name("fault_targets.py")), str(prepared), kind]
    while number < end and time.monotonic() < deadline:
        more = [str(options.seed), str(number), str(end - number), *([str(options.keep)] if options.keep else [])]
        with (
            (prepared / "messages.txt").open("wb") as messages,
            subprocess.Popen([*program, *more], stdout=subprocess.PIPE, stderr=messages) as process,
        ):
            began = number
            for line in lines_in_time(process):
                yield {"kind": kind, **json.loads(line)}
                number += 1
                if time.monotonic() > deadline:
                    process.kill()
                    return
            status = process.wait()
        if number < end:
            said = (prepared / "messages.txt").read_text(errors="replace").strip().splitlines()[-1:]
            if number == began and status > 0:
                raise SystemExit(f"{kind}: {said}")
            yield {"kind": kind, "number": number, "outcome": "fault", "why": f"ended with {status}: {said}"}
            number += 1


def lines_in_time(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield what a process prints, and kill it where it stays silent."""
    buffer, patience = b"", 120.0  # it has to begin first
    assert process.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(patience):
            read = os.read(process.stdout.fileno(), 1 << 16)
            if not read:
                return
            *lines, buffer = (buffer + read).split(b"\n")
            yield from lines
            patience = 2.0 * LIMIT_S
    process.kill()


def show(outcomes: list[Outcome], seconds: dict[str, float], seed: int) -> int:
    """Print the table and the faults; return their number."""
    counts: dict[str, Counter[str]] = {}
    for each in outcomes:
        counts.setdefault(each["kind"], Counter())[each["outcome"]] += 1
    print("\n| kind | tried | undisturbed result | another valid file | clear errors | faults |")
    print("|---|---|---|---|---|---|")
    for kind, found in counts.items():
        figures = (found.total(), found["right"], found["other"], found["error"], found["fault"])
        print(f"| {kind} | " + " | ".join(f"{figure:,}" for figure in figures) + " |")
    print("\n" + ", ".join(f"{part}: {spent / 60:.1f} minutes" for part, spent in seconds.items()) + f"; seed {seed}")
    faults = [each for each in outcomes if each["outcome"] == "fault"]
    alike: dict[tuple[str, str], list[Outcome]] = {}
    for each in faults:
        alike.setdefault((each["kind"], each["why"].split(": ")[0]), []).append(each)
    for (kind, _), found in sorted(alike.items(), key=lambda item: -len(item[1]))[:LISTED]:
        first = found[0]
        print(f"{len(found)} x {kind}, {first.get('file', '')} (--first {first['number']}): {first['why']}")
    return len(faults)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(COUNTS))
    parser.add_argument("--count", type=int, help="of accidents, with --only")
    parser.add_argument("--hours", type=float, help="end after so long, and then of each kind alike")
    parser.add_argument("--kind", choices=KINDS, help="of damaged files")
    parser.add_argument("--first", type=int, default=0, help="number of the first accident")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for damaged files, and for what came of killed commands")
    options = parser.parse_args()
    if options.count and not options.only:
        parser.error("--count belongs to --only")
    os.environ["OMP_NUM_THREADS"] = "1"  # the same result to the last bit
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        options.keep = options.keep.resolve()
    parts = [options.only] if options.only else list(COUNTS)
    count, outcomes, seconds = options.count, list[Outcome](), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        prepared = Path(folder) / "prepared"
        prepared.mkdir()
        prepare(prepared)
        for part in parts:
            start = time.monotonic()
            options.count = count or COUNTS[part]
            deadline = start + (3600 * options.hours / len(parts) if options.hours else float("inf"))
            for outcome in {"kills": kills, "phone": phone, "mutations": mutations}[part](prepared, options, deadline):
                outcomes.append(outcome)
                if outcome["outcome"] == "fault" or part != "mutations":
                    print(json.dumps(outcome), file=sys.stderr, flush=True)
            seconds[part] = time.monotonic() - start
    return int(show(outcomes, seconds, options.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
