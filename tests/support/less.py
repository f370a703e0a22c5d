"""What tests do less of than a user's run; run as a program, this is ``amc-hw`` that does less of it, too."""

from __future__ import annotations

import signal
import sys

import pytest

from amc_hw.devices.base import Device
from amc_hw.devices.effort import Effort
from amc_hw.runs.progress import Progress

FEW_MEASUREMENTS = Effort(networks=16, calibration=12, visits=4, totals=60, total_visits=2)


def do_less(patch: pytest.MonkeyPatch) -> None:
    """Benchmarks do not wait long for a busy machine to get steady, short fine-tunes see every image once, and the
    tables of this computer are made of few measurements: that they are made and used is tested, not how good they are.
    For the same reason nobody pauses while another process of the tests measures, but measurements take turns.
    """
    patch.setattr("amc_hw.devices.computers.profiled.ProfiledDevice.effort", FEW_MEASUREMENTS)
    patch.setattr("amc_hw.tasks.classification.MOST_EPOCHS", 1)
    patch.setattr("amc_hw.profiling.benchmark.PATIENCE_S", 3.0)
    patch.setattr("amc_hw.devices.turns.taking_turns", without_pauses)


def without_pauses(device: Device, progress: Progress) -> Progress:
    """Stand for `amc_hw.devices.turns.taking_turns`."""
    if device.turn is not None:
        device.turn.tell = progress
    return progress


if __name__ == "__main__":
    from amc_hw.cli.main import main

    # Where a shell runs the tests in the background, Ctrl-C is ignored in all they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    do_less(pytest.MonkeyPatch())
    sys.argv[0] = "amc-hw"
    main()
