"""Whose turn it is on a device: measuring has it alone, and other work pauses meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amc_hw.devices.base import BusyError, Device
from amc_hw.devices.table_only import open_or_predict
from amc_hw.errors import UsageError
from amc_hw.policy import Precision
from amc_hw.runs.progress import Progress

BUSY_POLL_S = 5.0
"""Between two looks whether a device that one program at a time may open is free; each look disturbs it."""


@contextmanager
def measuring(device: Device) -> Iterator[None]:
    """Have a device for oneself for the length of a block; devices that nobody can share need no turns."""
    if device.turn is None:
        yield
    else:
        with device.turn.alone():
            yield


def taking_turns(device: Device, progress: Progress) -> Progress:
    """Return a progress that shows what is waited for, and in whose calls the work pauses while others measure."""
    turn = device.turn
    if turn is None:
        return progress

    turn.tell = progress
    turn.give_way()
    return progress.after(turn.give_way)


@contextmanager
def device_in_turn(
    name: str, progress: Progress, table: Path | None = None, precision: Precision = "fp32"
) -> Iterator[tuple[Device, Progress]]:
    """Open a device once nobody else has it, and yield it with a progress that lets others measure.

    Raises:
        UsageError: this process has it already, under another name.
        AmcHwError: see `open_or_predict`.
    """
    while True:
        try:
            device = open_or_predict(name, table, precision)
            break
        except BusyError as error:
            if error.here:
                raise UsageError(
                    f"'{name}' is a phone that this run has under another name, and measures one way only; name each "
                    "phone once."
                ) from error
            progress(f"waiting for {name}, which another run is measuring on")
            time.sleep(BUSY_POLL_S)
    try:
        yield device, taking_turns(device, progress)
    finally:
        device.close()
