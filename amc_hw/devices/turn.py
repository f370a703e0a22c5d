"""A program's turns at a machine: one at a time measures, and on this machine nobody else works meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from amc_hw.runs.file_lock import POLL_S, FileLock


class Turn:
    """A program's turns at a machine: it works there beside others, and measures alone.

    There are two locks. All who work hold the room together, who measures holds it alone. On the way to either they
    pass the door, which a program that wants to measure keeps shut until it is done, or it would wait for ever.

    Args:
        machine: the machine's name, the same in all programs.
        device: what people call what is measured there.
        beside: whether work there has to pause while somebody measures; without, only measurements take turns.

    Attributes:
        machine: the machine's name.
        tell: is told in a line of text what is waited for.
    """

    def __init__(self, machine: str, device: str, beside: bool = True) -> None:
        self.tell: Callable[[str], None] = lambda _: None
        self.machine = machine
        self._room, self._door = FileLock(machine), FileLock(f"{machine} door")
        self._beside = beside
        self._inside = self._measuring = False
        self._busy = f"waiting for {device}, which another run is measuring on"
        self._noise = f"waiting for other runs to pause, so that {device} is measured in peace"

    def give_way(self) -> None:
        """Go on working once nobody measures or waits to; where the program measures itself, this does nothing."""
        if self._measuring or not self._beside:
            return
        if self._inside and self._door.take(shared=True):
            self._door.release()
            return
        self.leave()
        try:
            self._wait(self._door, True, self._busy)
            self._wait(self._room, True, self._busy)
            self._inside = True
        finally:
            self._door.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Measure: nobody else does, or works beside it, for the length of the block."""
        if self._measuring:
            yield
            return
        self.leave()
        try:
            self._wait(self._door, False, self._busy)
            self._wait(self._room, False, self._noise)
            self._measuring = True
            yield
        finally:
            self._measuring = False
            self._room.release()
            self._door.release()

    def leave(self) -> None:
        """Stop working; who measures need not wait for this program."""
        self._inside = False
        self._room.release()

    def _wait(self, lock: FileLock, shared: bool, text: str) -> None:
        while not lock.take(shared=shared):
            self.tell(lock.waiting(text))
            time.sleep(POLL_S)
