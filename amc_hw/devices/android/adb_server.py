"""The way to a phone through a running adb server, which other programs may use at the same time (library adbutils)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adbutils import AdbClient  # type: ignore[import-untyped]
from adbutils.errors import AdbError, AdbTimeout  # type: ignore[import-untyped]

from amc_hw.devices.android.adb import ConnectionLostError, Guard, Output, PushError, Waits
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


@dataclass(frozen=True)
class Attached:
    """A phone that an adb server shows.

    Attributes:
        serial: its serial.
        state: adb's word for its state, ``device`` when it is ready.
        model: its name for people, "" where it does not tell.
        codename: Android's name of the device, "" where it does not tell.
    """

    serial: str
    state: str
    model: str
    codename: str

    @property
    def cure(self) -> str:
        """What to do about its state, "" where it is ready."""
        return "" if self.state == "device" else CURES.get(self.state, "see: adb devices")


def list_attached(waits: Waits) -> list[Attached]:
    """Return the server's phones."""
    with _losses_explained("the adb server"):
        found = _client(waits).list(extended=True)
    return [
        Attached(p.serial, p.state, p.tags.get("model", "").replace("_", " "), p.tags.get("device", "")) for p in found
    ]


class ServerAdb:
    """A phone that an adb server holds.

    Args:
        serial: as ``adb devices`` shows it.
        waits: the longest waits.

    Raises:
        NotConnectedError: the server does not have it, or it is not ready.
    """

    def __init__(self, serial: str, waits: Waits) -> None:
        self.serial = serial
        self._waits = waits
        self._client = _client(waits)
        self._require_ready()

    def _require_ready(self) -> None:
        phone = next((phone for phone in list_attached(self._waits) if phone.serial == self.serial), None)
        if phone is None:
            raise NotConnectedError(f"the adb server has no phone {self.serial}; plug it in, and see: adb devices")
        if phone.cure:
            raise NotConnectedError(f"the phone {self.serial} is {phone.state}; {phone.cure}.")

    def reconnect(self) -> None:
        """See `Adb.reconnect`; a phone on a cable comes back by itself."""
        if ":" in self.serial:
            with _losses_explained(self.serial):
                self._client.disconnect(self.serial)
                self._client.connect(self.serial, timeout=self._waits.connect_s)
        self._require_ready()

    def run(self, command: str, timeout_s: float) -> Output:
        """See `Adb.run`."""
        with _losses_explained(self.serial):
            done = self._client.device(self.serial).shell2(command, timeout=timeout_s, encoding=None, v2=True)
        stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Output(stdout, stderr, done.returncode)

    def guard(self, command: str) -> Guard:
        """See `Adb.guard`."""
        with _losses_explained(self.serial):
            stream = self._client.device(self.serial).open_transport(timeout=self._waits.command_s)
            stream.send_command(f"shell,v2,raw:{command}")
            stream.check_okay()
            said = b""
            while b"ready" not in said:
                data = stream.recv(4096)
                if not data:
                    raise DeviceError(f"the phone {self.serial} could not be prepared: {said!r}.")
                said += data
        return _OpenStream(stream)

    def push(self, file: Path, path: str) -> None:
        """See `Adb.push`."""
        with _losses_explained(self.serial):
            try:
                self._client.device(self.serial).sync.push(file, path)
            except AdbError as error:
                if isinstance(error, AdbTimeout) or str(error) != "FAIL":
                    raise
                raise PushError(f"the phone {self.serial} refused the file") from error

    def pull(self, path: str) -> bytes:
        """See `Adb.pull`."""
        with _losses_explained(self.serial):
            try:
                content: bytes = self._client.device(self.serial).sync.read_bytes(path)
            except AdbError as error:
                if len(error.args) < 2:
                    raise
                raise DeviceError(f"cannot read {path} on the phone {self.serial}: {error.args[0]}.") from error
        return content

    def close(self) -> None:
        """See `Adb.close`; the server keeps the phone."""


class _OpenStream:
    """A service that stays open beside others."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def close(self) -> None:
        """Close the connection; the phone then ends the service."""
        with contextlib.suppress(OSError):
            self._connection.close()


def _client(waits: Waits) -> Any:
    if not is_server_running():
        raise ConnectionLostError("no adb server is running; start it with: adb start-server")
    host, port = server_address()
    return AdbClient(host=host, port=port, socket_timeout=waits.stall_s)


@contextlib.contextmanager
def _losses_explained(whom: str) -> Iterator[None]:
    """Name every way to lose the phone or the server."""
    try:
        yield
    except (OSError, EOFError, ValueError, AdbError) as error:
        raise ConnectionLostError(
            f"the connection to {whom} broke ({str(error).strip() or 'no answer'}); check its cable or network, "
            "see: adb devices, and run this again."
        ) from error
