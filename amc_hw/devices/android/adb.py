"""What amc-hw needs of adb, whichever way it reaches the phone: commands with their status, push, pull, a guard."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from amc_hw.devices.base import NotConnectedError
from amc_hw.errors import DeviceError


class ConnectionLostError(NotConnectedError):
    """The phone was there and is gone: a pulled cable, a Wi-Fi that broke, an adb server that ended."""


class PushError(DeviceError):
    """The phone would not take a file."""


@dataclass(frozen=True)
class Waits:
    """The longest waits, in seconds; docs/devices.md lists them. Nothing on the way to a phone waits longer.

    Attributes:
        connect_s: for a connection to be made.
        authorise_s: for somebody to press "Allow" on the phone.
        command_s: for a small command to end.
        stall_s: for the next bytes of a file under way.
        run_s: for one run of benchmark_model, from start to end; it may be silent all the while. The phone
            itself ends a run that takes longer, also when nobody is connected any more.
        reconnect_s: for a lost phone to come back.
        cool_s: for a hot phone to cool down.
        cool_poll_s: between two looks at a hot phone.
    """

    connect_s: float = 10.0
    authorise_s: float = 20.0
    command_s: float = 60.0
    stall_s: float = 60.0
    run_s: float = 1800.0
    reconnect_s: float = 60.0
    cool_s: float = 900.0
    cool_poll_s: float = 10.0


@dataclass(frozen=True)
class Output:
    """What a command on the phone has left."""

    stdout: str
    stderr: str
    status: int


class Guard(Protocol):
    """A command that runs on the phone until it is let go, or until the connection breaks."""

    def close(self) -> None:
        """Let it go."""


class Adb(Protocol):
    """One phone. Every method raises ConnectionLostError where the phone does not answer any more."""

    serial: str

    def run(self, command: str, timeout_s: float) -> Output:
        """Run a shell command, and return what it printed with its exit status, whichever that is.

        Args:
            command: for the phone's shell; what is not your own has to be quoted.
            timeout_s: the longest time without any output.

        Raises:
            ConnectionLostError: the phone does not answer for so long, or breaks off.
        """

    def guard(self, command: str) -> Guard:
        """Start a command that prints ``ready`` and then waits for the end of its input."""

    def push(self, file: Path, path: str) -> None:
        """Write a file on the phone; raise PushError where the phone refuses."""

    def pull(self, path: str) -> bytes:
        """Read a file of the phone; raise DeviceError where there is none."""

    def reconnect(self) -> None:
        """Connect again, once; raise NotConnectedError where that does not succeed."""

    def close(self) -> None:
        """Let the phone go."""


_STDOUT, _STDERR, _EXIT = 1, 2, 3


def read_shell_v2(data: bytes) -> Output:
    """Take apart what the service ``shell,v2`` sent (AOSP, adb's shell_protocol.h).

    Raises:
        ConnectionLostError: it ends before the exit status.
    """
    parts: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray(), _EXIT: bytearray()}
    position = 0
    while position + 5 <= len(data):
        kind, size = struct.unpack_from("<BI", data, position)
        position += 5 + size
        if kind in parts:
            parts[kind] += data[position - size : position]
    if not parts[_EXIT]:
        raise ConnectionLostError("the phone broke off a command; check its cable or network and run this again.")
    stdout, stderr = (bytes(parts[kind]).decode(errors="replace") for kind in (_STDOUT, _STDERR))
    return Output(stdout, stderr, parts[_EXIT][0])
