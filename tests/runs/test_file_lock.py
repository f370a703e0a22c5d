"""Locks among programs, and two programs that are told to work in one run folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import TINY, start_amc_hw

from amc_hw.runs import file_lock
from amc_hw.runs.file_lock import FileLock, exclusive
from amc_hw.runs.progress import Progress

pytest.importorskip("fcntl")


def test_locks_are_by_name_and_shared_or_not() -> None:
    one, other = FileLock("phone 1"), FileLock("phone 1")
    assert one.take()
    assert not other.take(shared=True)
    assert FileLock("phone 2").take()
    assert one.take(shared=True)
    assert other.take(shared=True)
    assert not one.take()
    other.release()
    assert one.take()


HOLDS = """
import os, signal
from amc_hw.runs.file_lock import FileLock
lock = FileLock("bench 3")
print(lock.take(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
def test_a_stopped_program_that_holds_a_lock_is_named() -> None:
    lock = FileLock("bench 3")
    assert lock.waiting("waiting") == "waiting"
    holder = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        deadline = time.monotonic() + 20
        while lock.waiting("") == "" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not lock.take()
        cure = f"kill -CONT {holder.pid}"
        assert lock.waiting("waiting") == f"waiting; process {holder.pid} has it and is stopped: {cure}"
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(20) == 0
        assert lock.waiting("waiting") == "waiting"
        assert lock.take()
    finally:
        holder.kill()
        holder.wait()


def test_a_run_folder_is_worked_in_by_one_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lock, "POLL_S", 0.005)
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with exclusive(tmp_path / "." / "run", Progress(lambda update: (order.append(update.text), waiting.set()))):
            order.append("second")

    with exclusive(tmp_path / "run", Progress(lambda update: order.append("never"))):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(20)
        time.sleep(0.02)
        order.append("first")
        with exclusive(tmp_path / "other", Progress(lambda update: order.append("never"))):
            pass
    thread.join(timeout=20)
    told, *_, first, last = dict.fromkeys(order)
    assert (told, first, last) == (f"waiting for another amc-hw to leave {tmp_path / 'run'}", "first", "second")


def test_the_same_command_given_twice_at_once_searches_once(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = (
        *("search", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", run),
        *("--precision", "fp32", "--macs", "0.5x", "--strategy", "random", "--episodes", 20),
        *("--reward", "accuracy_guaranteed"),  # it ends at its last episode only
    )
    programs = [start_amc_hw(*command) for _ in range(2)]
    told = [program.communicate(timeout=250)[1].decode() for program in programs]
    assert [program.returncode for program in programs] == [0, 0], told
    assert any("waiting for another amc-hw" in text for text in told)
    numbers = [json.loads(line)["episode"] for line in (run / "episodes.jsonl").read_text().splitlines()[1:]]
    assert len(numbers) == len(set(numbers)) == 20
