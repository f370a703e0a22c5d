"""Two programs never measure at once, and nobody works on the machine meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amc_hw.devices import turn as module
from amc_hw.devices import turns
from amc_hw.devices.base import BusyError
from amc_hw.devices.computers.host import HostDevice
from amc_hw.devices.computers.onnx import OnnxDevice
from amc_hw.devices.turn import Turn
from amc_hw.devices.turns import measuring, taking_turns
from amc_hw.errors import UsageError
from amc_hw.runs.file_lock import FileLock
from amc_hw.runs.progress import SILENT, Progress

pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.005)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def in_threads(*work: Callable[[], None]) -> None:
    """Each has its own locks, so that threads stand for programs."""
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_who_measures_is_alone() -> None:
    measuring_now: list[str] = []
    working: dict[str, bool] = {}
    trouble: list[str] = []

    def program(name: str) -> None:
        turn = Turn("bench", "host")
        for _ in range(4):
            for _ in range(5):
                turn.give_way()
                working[name] = True
                if measuring_now:
                    trouble.append(f"{name} worked while {measuring_now} measured")
                time.sleep(0.002)
                working[name] = False
            with turn.alone():
                measuring_now.append(name)
                if measuring_now != [name] or any(working.values()):
                    trouble.append(f"{measuring_now} measured, {working} worked")
                turn.give_way()  # a progress shown by who measures
                time.sleep(0.005)
                measuring_now.remove(name)
        turn.leave()

    in_threads(*(lambda name=name: program(name) for name in "abc"))
    assert trouble == []


def test_waiting_is_told() -> None:
    first, second, told = Turn("bench", "host"), Turn("bench", "host"), []
    second.tell = told.append
    order: list[str] = []

    def measure_second() -> None:
        with second.alone():
            order.append("second")

    with first.alone():
        thread = threading.Thread(target=measure_second)
        thread.start()
        until(lambda: bool(told))
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
    assert set(told) == {"waiting for host, which another run is measuring on"}

    told.clear()
    first.give_way()  # works from now on
    thread = threading.Thread(target=measure_second)
    thread.start()
    until(lambda: bool(told))
    assert "for other runs to pause" in told[0]
    resumed = threading.Thread(target=first.give_way)  # stops for as long as the other one measures
    resumed.start()
    thread.join(timeout=10)
    resumed.join(timeout=10)
    assert order == ["first", "second", "second"]


def test_an_error_while_measuring_lets_others_in() -> None:
    first = Turn("bench", "host")
    with pytest.raises(ZeroDivisionError), first.alone():
        1 / 0  # noqa: B018
    with Turn("bench", "host").alone():
        pass


def test_progress_pauses_and_shows_what_is_waited_for() -> None:
    shown: list[str] = []
    device: Any = SimpleNamespace(turn=Turn("bench", "host"))
    report = taking_turns(device, Progress(lambda update: shown.append(update.text)))
    rival: Any = SimpleNamespace(turn=Turn("bench", "host"))
    report("working", 1, 2)
    with TakingPart(rival):
        worker = threading.Thread(target=report, args=("worked", 2, 2))
        worker.start()
        until(lambda: shown[-1].startswith("waiting for host"))
    worker.join(timeout=10)
    assert shown[0] == "working"
    assert shown[-1] == "worked"
    with measuring(SimpleNamespace(turn=None)):  # type: ignore[arg-type]
        pass


class TakingPart:
    """Measure in a thread that can wait for the room while this one still works."""

    def __init__(self, device: Any) -> None:
        self.device, self.done, self.begun = device, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.measure)

    def measure(self) -> None:
        with measuring(self.device):
            self.begun.set()
            self.done.wait(10)

    def __enter__(self) -> None:
        self.thread.start()
        until(lambda: not FileLock("bench door").take())

    def __exit__(self, *_: object) -> None:
        assert self.begun.wait(10)
        self.done.set()
        self.thread.join(timeout=10)


def test_what_runs_here_shares_one_machine() -> None:
    devices = []
    for kind, library in ((HostDevice, "ai_edge_litert"), (OnnxDevice, "onnxruntime")):
        pytest.importorskip(library)
        devices.append(kind())
    try:
        with measuring(devices[0]):
            assert not devices[1].turn._room.take()
    finally:
        for device in devices:
            device.close()


def test_who_closes_its_device_lets_others_measure() -> None:
    """As a notebook does that goes on living, and may keep all of it alive in the traceback of an error."""
    pytest.importorskip("onnxruntime")
    device = OnnxDevice()
    report = taking_turns(device, Progress())
    other = FileLock("this machine")
    assert not other.take()
    device.close()
    assert other.take()
    assert report is not None


def test_who_has_a_device_works_beside_others_and_pauses_where_it_shows_its_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = SimpleNamespace(turn=Turn("bench", "host"), close=lambda: None)
    monkeypatch.setattr(turns, "open_or_predict", lambda *_: device)
    monkeypatch.setattr(turns, "taking_turns", taking_turns)  # the other tests pause for nobody
    with turns.device_in_turn("host", Progress()) as (_, report):
        assert not FileLock("bench").take()
        device.turn.leave()
        assert FileLock("bench").take()
        report("working", 1, 2)
        assert not FileLock("bench").take()


def test_a_busy_device_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    device = SimpleNamespace(turn=None, close=lambda: tries.append("closed"))

    def opened(name: str, table: Path | None, precision: str) -> Any:
        tries.append(name)
        if len(tries) < 3:
            raise BusyError("another amc-hw is measuring on the phone")
        return device

    monkeypatch.setattr(turns, "open_or_predict", opened)
    monkeypatch.setattr(turns, "BUSY_POLL_S", 0)
    shown: list[str] = []
    with turns.device_in_turn("pixel1", Progress(lambda update: shown.append(update.text))) as (found, _):
        assert found is device
    assert tries == ["pixel1"] * 3 + ["closed"]
    assert shown == ["waiting for pixel1, which another run is measuring on"] * 2


def test_a_phone_that_this_program_has_under_another_name_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from amc_hw.devices import turns

    def opened(name: str, table: Path | None, precision: str) -> Any:
        raise BusyError("another amc-hw is measuring on the phone", here=True)

    monkeypatch.setattr(turns, "open_or_predict", opened)
    with pytest.raises(UsageError, match=r"'pixel1' is a phone that this run has under another name.*once"):
        turns.device_in_turn("pixel1", SILENT).__enter__()
