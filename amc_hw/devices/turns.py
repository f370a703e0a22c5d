"""Whose turn it is on a device: measuring has it alone, and other work pauses meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amc_hw.devices.base import Device
from amc_hw.runs.progress import Progress


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
