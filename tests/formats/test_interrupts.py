"""Ctrl-C while a converter runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from amc_hw.formats.interrupts import interrupts_deferred

CONVERTS = """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
import torch
from torch import nn
from amc_hw.formats.tflite.convert import to_tflite
network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)).eval()
to_tflite(network, torch.zeros(1, 1, 8, 8))
for delay in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4):
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        to_tflite(network, torch.zeros(1, 1, 8, 8))
        timer.join()  # it came after the conversion
    except KeyboardInterrupt:
        pass
    print("interrupted", flush=True)
to_tflite(network, torch.zeros(1, 1, 8, 8))
"""


def test_a_conversion_outlives_interrupts_which_are_raised_after_it() -> None:
    process = subprocess.run([sys.executable, "-c", CONVERTS], capture_output=True, text=True, timeout=240)
    assert (process.returncode, process.stdout.split()) == (0, ["interrupted"] * 6), process.stderr


def test_an_interrupt_waits_for_the_end_and_is_not_lost() -> None:
    before, steps = signal.signal(signal.SIGINT, signal.default_int_handler), []
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_deferred():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("went on")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with interrupts_deferred():
            steps.append("undisturbed")
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps == ["went on", "undisturbed"]
