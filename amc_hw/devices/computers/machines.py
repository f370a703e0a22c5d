"""Where a profiler program runs: on this machine, or on another one over ssh. Nothing needs to be installed there but
Python and the runtime: the program and the models travel inside the one connection."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from amc_hw.devices.base import NotConnectedError
from amc_hw.devices.computers.profiler_process import ProfilerDiedError, ProfilerProcess
from amc_hw.devices.turn import Turn
from amc_hw.errors import DeviceError, UsageError
from amc_hw.shipped import shipped

ISOLATED = ["-P"] if sys.version_info >= (3, 11) else []
"""Keeps what lies beside a program, or in the working directory, from shadowing libraries of the same name."""

SSH_FAILED = 255
"""The exit status by which ssh tells that it, not the command, failed."""


class Machine(Protocol):
    """A machine that can run a profiler program."""

    def turn(self, device: str) -> Turn:
        """Return the turns of this program at a device of the machine, with its name for people."""

    def start(self, program: str, arguments: Sequence[str]) -> ProfilerProcess:
        """Make ready to run a program of the folder profilers; it starts with its first request."""

    def put(self, profiler: ProfilerProcess, file: Path) -> str:
        """Have a file on the machine and return its path there."""

    def explain(self, error: ProfilerDiedError) -> DeviceError:
        """Return the error to show where a program could not run."""


class ThisMachine:
    """The machine that amc-hw runs on, with the same Python."""

    def turn(self, device: str) -> Turn:
        """See `Machine.turn`; all that amc-hw does here would disturb."""
        return Turn("this machine", device)

    def start(self, program: str, arguments: Sequence[str]) -> ProfilerProcess:
        """See `Machine.start`."""
        return ProfilerProcess([sys.executable, *ISOLATED, str(shipped("profilers") / program), *arguments])

    def put(self, profiler: ProfilerProcess, file: Path) -> str:
        """See `Machine.put`."""
        return str(file)

    def explain(self, error: ProfilerDiedError) -> DeviceError:
        """See `Machine.explain`."""
        return DeviceError(error.message)


class SshMachine:
    """A machine that the system's ssh client reaches without a question (keys, an agent, ~/.ssh/config).

    Args:
        destination: ``user@host``, or a name of ~/.ssh/config.
        port: its port, or None for the client's own choice.
        python: the remote Python that has numpy and the runtime.

    Raises:
        UsageError: the destination would be read as an option of ssh, or AMC_HW_SSH has an open quotation mark.
    """

    def __init__(self, destination: str, port: int | None = None, python: str = "python3") -> None:
        if not destination or destination.startswith("-"):
            raise UsageError(f"'{destination}' is no machine; write ssh:user@host:onnx.")
        self.destination = destination
        self._python = python
        command = os.environ.get("AMC_HW_SSH") or "ssh"
        try:
            client = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"AMC_HW_SSH is no command line ({error}): {command}") from error
        options = ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=4"]
        self._client = [*client, "-T", *(f"-o{option}" for option in options), *(["-p", str(port)] if port else [])]

    def turn(self, device: str) -> Turn:
        """See `Machine.turn`."""
        return Turn(f"ssh {self.destination}", device, beside=False)

    def start(self, program: str, arguments: Sequence[str]) -> ProfilerProcess:
        """See `Machine.start`."""
        folder = shipped("profilers")
        sent = {file.name: file.read_text() for file in folder.glob("*.py")}
        remote = shlex.join([self._python, "-u", "-c", (folder / "receive.py").read_text(), program, *arguments])
        return ProfilerProcess(
            [*self._client, "--", self.destination, f"exec {remote}"], greeting=json.dumps(sent).encode() + b"\n"
        )

    def put(self, profiler: ProfilerProcess, file: Path) -> str:
        """See `Machine.put`; a file that is there already is not sent again."""
        content = file.read_bytes()
        name = hashlib.sha256(content).hexdigest()[:20] + file.suffix
        there = profiler.request(do="keep", name=name)["file"]
        if there is None:
            there = profiler.request(do="keep", name=name, content=base64.b64encode(content).decode())["file"]
        return str(there)

    def explain(self, error: ProfilerDiedError) -> DeviceError:
        """See `Machine.explain`."""
        if error.status == SSH_FAILED:
            return NotConnectedError(
                f"ssh cannot reach {self.destination} ({error.message}); this must work without a question, and print "
                f"nothing: {shlex.join([*self._client, self.destination, 'true'])}"
            )
        return DeviceError(f"on {self.destination}: {error.message}")
