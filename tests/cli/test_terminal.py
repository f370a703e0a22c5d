"""What the command line does besides printing."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from amc_hw.cli.terminal import answer, print_table, progress_bar, say, watch_for_interrupts


def test_a_swallowed_interrupt_is_raised_at_the_next_report() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        watch_for_interrupts()
        with pytest.raises(KeyboardInterrupt), progress_bar() as report:  # noqa: PT012
            report("before", 0, 2)
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            report("after", 1, 2)
    finally:
        watch_for_interrupts()
        signal.signal(signal.SIGINT, before)


def test_a_log_is_told_a_kind_of_work_once_in_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as report:
        for episode in range(5):
            note = f"best reward {episode / 7:.3f}\nkept of every group {'123'[: episode % 3 + 1]}"
            report("searching", episode, 5, note)
        report("measuring", 1, 2)
    assert capsys.readouterr().err.splitlines() == ["searching: best reward 0.000 (0/5)", "measuring (1/2)"]


def test_a_log_tells_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("amc_hw.cli.terminal.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("amc_hw.cli.terminal.LOG_EVERY_S", 0.0)
    with progress_bar() as report:
        for done in (4, 5, 6):
            report("benchmark", done, 6)
        report("benchmark", 6, 12)
        report("benchmark", 7, 12)
    first, second, third, fourth, fifth = capsys.readouterr().err.splitlines()
    assert (first, third, fourth) == ("benchmark (4/6)", "benchmark (6/6)", "benchmark (6/12)")
    assert second.startswith("benchmark (5/6, ")
    assert fifth.startswith("benchmark (7/12, ")
    assert fifth.endswith(" left)")


def test_what_is_said_is_said_letter_by_letter(capsys: pytest.CaptureFixture[str]) -> None:
    name = "npz:one: [bold] of :smile:"
    say(name)
    answer(name)
    print_table("", ["file"], [[name]])
    told = capsys.readouterr()
    assert told.err == told.out.splitlines()[0] + "\n" == name + "\n"
    assert name in told.out.split("\n", 1)[1]
