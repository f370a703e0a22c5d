"""The way to a phone through a running adb server, which other programs may use at the same time (library adbutils)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adbutils import AdbClient
from adbutils.errors import AdbError, AdbTimeout

from amc_hw.devices.adb import ConnectionLostError, Guard, Limits, Output, PushError
from amc_hw.devices.base import NotConnectedError
from amc_hw.errors import DeviceError

SERVER_ANSWER_S = 0.3
SERVER_START_S = 20.0

CURES = {
    "unauthorized": "unlock it and confirm 'Allow USB debugging'",
    "authorizing": "unlock it and confirm 'Allow USB debugging'",
    "offline": "plug it in again, or restart the server with: adb kill-server",
    "no": "this computer may not open it: add the udev rules for adb (package android-sdk-platform-tools-common)",
    "recovery": "start Android on it",
    "bootloader": "start Android on it",
    "sideload": "start Android on it",
}


def server_address() -> tuple[str, int]:
    """Return where the adb server of this user is, or would be."""
    port = os.environ.get("ANDROID_ADB_SERVER_PORT", "")
    return os.environ.get("ANDROID_ADB_SERVER_HOST") or "127.0.0.1", int(port) if port.isdecimal() else 5037


def is_server_running() -> bool:
    """Tell whether an adb server answers."""
    try:
        socket.create_connection(server_address(), SERVER_ANSWER_S).close()
    except OSError:
        return False
    return True


def start_server() -> bool:
    """Start the adb server where the adb program is installed; tell whether one runs now."""
    program = shutil.which("adb")
    if program is not None and not is_server_running():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([program, "start-server"], capture_output=True, timeout=SERVER_START_S, check=False)
    return is_server_running()


def listed(limits: Limits) -> dict[str, tuple[str, str]]:
    """Return the server's phones: serial -> (state, model)."""
    with _losses("the adb server"):
        found = _client(limits).list(extended=True)
    return {phone.serial: (phone.state, phone.tags.get("model", "").replace("_", " ")) for phone in found}


class ServerAdb:
    """A phone that an adb server holds.

    Args:
        serial: as ``adb devices`` shows it.
        limits: the longest waits.

    Raises:
        NotConnectedError: the server does not have it, or it is not ready.
    """

    def __init__(self, serial: str, limits: Limits) -> None:
        self.serial = serial
        self._limits = limits
        self._client = _client(limits)
        self._require_ready()

    def _require_ready(self) -> None:
        state, _ = listed(self._limits).get(self.serial, ("", ""))
        if state == "device":
            return
        if not state:
            raise NotConnectedError(f"the adb server has no phone {self.serial}; plug it in, and see: adb devices")
        cure = CURES.get(state, "see: adb devices")
        raise NotConnectedError(f"the phone {self.serial} is {state}; {cure}.")

    def reconnect(self) -> None:
        """See `Adb.reconnect`; a phone on a cable comes back by itself."""
        if ":" in self.serial:
            with _losses(self.serial):
                self._client.disconnect(self.serial)
                self._client.connect(self.serial, timeout=self._limits.connect_s)
        self._require_ready()

    def run(self, command: str, timeout_s: float) -> Output:
        """See `Adb.run`."""
        with _losses(self.serial):
            done = self._client.device(self.serial).shell2(command, timeout=timeout_s, encoding=None, v2=True)
        stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Output(stdout, stderr, done.returncode)

    def guard(self, command: str) -> Guard:
        """See `Adb.guard`."""
        with _losses(self.serial):
            stream = self._client.device(self.serial).open_transport(timeout=self._limits.command_s)
            stream.send_command(f"shell,v2,raw:{command}")
            stream.check_okay()
            said = b""
            while b"ready" not in said:
                data = stream.recv(4096)
                if not data:
                    raise DeviceError(f"the phone {self.serial} could not be prepared: {said!r}.")
                said += data
        return stream

    def push(self, file: Path, path: str) -> None:
        """See `Adb.push`."""
        with _losses(self.serial):
            try:
                self._client.device(self.serial).sync.push(file, path)
            except AdbError as error:
                if isinstance(error, AdbTimeout) or str(error) != "FAIL":
                    raise
                raise PushError(f"the phone {self.serial} refused the file") from error

    def pull(self, path: str) -> bytes:
        """See `Adb.pull`."""
        with _losses(self.serial):
            try:
                return self._client.device(self.serial).sync.read_bytes(path)
            except AdbError as error:
                if len(error.args) < 2:
                    raise
                raise DeviceError(f"cannot read {path} on the phone {self.serial}: {error.args[0]}.") from error

    def close(self) -> None:
        """See `Adb.close`; the server keeps the phone."""


def _client(limits: Limits) -> Any:
    if not is_server_running():
        raise ConnectionLostError("no adb server is running; start it with: adb start-server")
    host, port = server_address()
    return AdbClient(host=host, port=port, socket_timeout=limits.stall_s)


@contextlib.contextmanager
def _losses(whom: str) -> Iterator[None]:
    """Name every way to lose the phone or the server."""
    try:
        yield
    except (OSError, EOFError, ValueError, AdbError) as error:
        raise ConnectionLostError(
            f"the connection to {whom} broke ({str(error).strip() or 'no answer'}); check its cable or network, "
            "see: adb devices, and run this again."
        ) from error
