"""Several runs of a sweep at a time, each in a process of its own that ends when the sweep does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, TypedDict

from amc_hw.devices.computers.host import own_cores
from amc_hw.devices.computers.machines import ISOLATED
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import make_folder
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.values import Facts

COMMAND = [sys.executable, *ISOLATED, "-m", "amc_hw.sweep.child"]
POLL_S = 0.2
GRACE_S = 15.0
"""What a run has for letting its device go; it cannot lose more than the episode or the epoch under way."""

_TAIL = 4096


class Order(TypedDict):
    """What a run's process is told in a line; ``config`` is a `RunConfig` as it stands in its file.

    ``relatives`` are the folders of the runs that it may take over from.
    """

    run: str
    compute: str
    config: Facts
    relatives: list[str]


@dataclass
class _Child:
    run: Path
    process: subprocess.Popen[bytes]
    shown: str


def last_line(run: Path) -> str:
    """Return what a run wrote last."""
    with RunFolder(run).shown.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
        lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def run_all(
    todo: Mapping[Path, RunConfig],
    jobs: int,
    compute: str,
    progress: Progress,
    relatives: Mapping[Path, Sequence[Path]] = MappingProxyType({}),
) -> dict[Path, str]:
    """Compress in several processes and return why runs failed; however this ends, no process stays behind.

    Args:
        todo: run folder -> its settings. What a run shows goes into ``log.txt`` there.
        jobs: processes at a time; they share the processor's cores.
        compute: where to train, prune and score.
        progress: is told how many runs are done, and what one of them showed last.
        relatives: the folders of the runs that each of them may take over from.
    """
    waiting, children, errors = list(todo.items()), list[_Child](), dict[Path, str]()
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                run, config = waiting.pop(0)
                others = [str(other) for other in relatives.get(run, ())]
                order = Order(run=str(run), compute=compute, config=config.model_dump(), relatives=others)
                children.append(_start(run, order, jobs))
            time.sleep(POLL_S)
            for child in list(children):
                if child.process.poll() is not None:
                    children.remove(child)
                    _end([child])
                    if child.process.returncode:
                        errors[child.run] = _reason(child)
            done = len(todo) - len(waiting) - len(children)
            for child in children:
                line = last_line(child.run)
                if line != child.shown:
                    child.shown = line
                    progress("runs of the sweep", done, len(todo), f"{line} [{child.run.name}]")
    finally:
        _end(children)
    return errors


def _start(run: Path, order: Order, jobs: int) -> _Child:
    make_folder(run)
    shown = last_line(run) if RunFolder(run).shown.exists() else ""  # what an earlier sweep left is no news
    cores = own_cores()
    with RunFolder(run).shown.open("ab") as log:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={"OMP_NUM_THREADS": str(max(1, cores // jobs)), **os.environ},
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which ends its runs
        )
    child = _Child(run, process, shown)
    try:
        _stdin(child).write(json.dumps(order).encode() + b"\n")
        _stdin(child).flush()
    except BrokenPipeError:  # it is gone already; its log says why
        pass
    except BaseException:
        _end([child])
        raise
    return child


def _reason(child: _Child) -> str:
    said = last_line(child.run).removeprefix("error: ")
    if child.process.returncode < 0:
        shown = RunFolder(child.run).shown
        return f"it was ended by signal {-child.process.returncode}; see {shown}, and run the same again."
    return said or f"it ended with status {child.process.returncode} and said nothing."


def _end(children: list[_Child]) -> None:
    """Close what tells the runs that the sweep goes on, and wait for them."""
    for child in children:
        try:
            _stdin(child).close()
        except BrokenPipeError:
            continue
    deadline = time.monotonic() + GRACE_S
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def _stdin(child: _Child) -> IO[bytes]:
    if child.process.stdin is None:
        raise BrokenPipeError
    return child.process.stdin
