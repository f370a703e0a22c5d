"""The direct way to a phone, by TCP or USB, without an adb server (library adb-shell)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from adb_shell import constants, exceptions  # type: ignore[import-untyped]
from adb_shell.adb_device import AdbDevice  # type: ignore[import-untyped]
from adb_shell.adb_message import AdbMessage  # type: ignore[import-untyped]
from adb_shell.auth.keygen import keygen, write_public_keyfile  # type: ignore[import-untyped]
from adb_shell.auth.sign_pythonrsa import PythonRSASigner  # type: ignore[import-untyped]
from adb_shell.transport.tcp_transport import TcpTransport  # type: ignore[import-untyped]

from amc_hw.devices.android.adb import ConnectionLostError, Guard, Output, PushError, Waits, read_shell_v2
from amc_hw.devices.base import NotConnectedError
from amc_hw.errors import DeviceError

try:
    from usb1 import USBError  # type: ignore[import-not-found]
except ImportError:  # the library for USB is an extra of its own
    USBError = OSError

_SHELL = b"shell,v2,raw"
_LOST = (
    OSError,
    USBError,
    exceptions.AdbConnectionError,
    exceptions.AdbTimeoutError,
    exceptions.InvalidChecksumError,
    exceptions.InvalidCommandError,
    exceptions.TcpTimeoutException,
    exceptions.UsbDeviceNotFoundError,
    exceptions.UsbReadFailedError,
    exceptions.UsbWriteFailedError,
)


class WholeTcpTransport(TcpTransport):  # type: ignore[misc]
    """adb-shell's TCP transport, mended: it sends everything, and it notices that the phone has gone.

    The original calls ``send`` once, so a slow link loses the rest of a large packet, and it takes the end of
    the connection for silence.
    """

    def connect(self, transport_timeout_s: float | None) -> None:
        """Connect; the kernel then looks every 10 s whether the phone is still there, and gives up after 40 s."""
        super().connect(transport_timeout_s)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                self._connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        """Receive some bytes; raise ConnectionResetError at the end of the connection."""
        self._require_open()
        data: bytes = super().bulk_read(numbytes, transport_timeout_s)
        if not data:
            raise ConnectionResetError("the phone closed the connection")
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        """Send all of ``data``; the timeout is for each part that the network takes."""
        self._require_open()
        rest = memoryview(data)
        while rest:
            with contextlib.suppress(BlockingIOError):
                rest = rest[super().bulk_write(rest, transport_timeout_s) :]
        return len(data)

    def _require_open(self) -> None:
        if self._connection is None:
            raise ConnectionResetError("the connection is closed")


class DirectAdb:
    """A phone without an adb server between.

    Args:
        serial: what people call it.
        transport: makes a new transport to it.
        waits: the longest waits.

    Raises:
        NotConnectedError: it does not answer, or nobody allows the connection.
    """

    def __init__(self, serial: str, transport: Callable[[], Any], waits: Waits) -> None:
        self.serial = serial
        self._transport = transport
        self._waits = waits
        self._device: Any = None
        self.reconnect()

    def reconnect(self) -> None:
        """See `Adb.reconnect`."""
        self.close()
        waits = self._waits
        try:
            device = AdbDevice(self._transport(), default_transport_timeout_s=waits.connect_s)
        except _LOST as error:
            raise _no_answer(self.serial, error) from error
        asked: list[bool] = []
        try:
            device.connect(
                rsa_keys=[_key()],
                transport_timeout_s=waits.connect_s,
                auth_timeout_s=waits.authorise_s,
                read_timeout_s=max(waits.connect_s, waits.authorise_s),
                auth_callback=lambda _: asked.append(True),
            )
        except (*_LOST, exceptions.DeviceAuthError, exceptions.InvalidResponseError) as error:
            with contextlib.suppress(*_LOST):
                device.close()
            if asked:
                raise NotConnectedError(
                    f"the phone {self.serial} did not allow this computer; unlock it, confirm 'Allow USB debugging' "
                    "and run this again."
                ) from error
            raise _no_answer(self.serial, error) from error
        self._device = device

    def run(self, command: str, timeout_s: float) -> Output:
        """See `Adb.run`."""
        with self._losses_explained():
            data = self._open_device()._service(
                _SHELL,
                command.encode(),
                transport_timeout_s=timeout_s,
                read_timeout_s=timeout_s,
                decode=False,
            )
        return read_shell_v2(data)

    def guard(self, command: str) -> Guard:
        """See `Adb.guard`."""
        wait_s, device = self._waits.command_s, self._open_device()
        with self._losses_explained():
            stream = device._open(_SHELL + b":" + command.encode(), wait_s, wait_s, None)
            said = b""
            while b"ready" not in said:
                kind, data = device._read_until([constants.CLSE, constants.WRTE], stream)
                if kind == constants.CLSE:
                    raise DeviceError(f"the phone {self.serial} could not be prepared: {said!r}.")
                said += data
        return _OpenStream(device, stream)

    def push(self, file: Path, path: str) -> None:
        """See `Adb.push`."""
        with self._losses_explained():
            try:
                self._open_device().push(
                    BytesIO(file.read_bytes()),
                    path,
                    transport_timeout_s=self._waits.stall_s,
                    read_timeout_s=self._waits.stall_s,
                )
            except (exceptions.PushFailedError, exceptions.AdbCommandFailureException) as error:
                raise PushError(str(error)) from error

    def pull(self, path: str) -> bytes:
        """See `Adb.pull`."""
        content = BytesIO()
        # adb-shell closes what it has written to.
        content.close = lambda: None  # type: ignore[method-assign]
        with self._losses_explained():
            try:
                self._open_device().pull(
                    path,
                    content,
                    transport_timeout_s=self._waits.stall_s,
                    read_timeout_s=self._waits.stall_s,
                )
            except exceptions.AdbCommandFailureException as error:
                raise DeviceError(f"cannot read {path} on the phone {self.serial}: {error}.") from error
        return content.getvalue()

    def close(self) -> None:
        """See `Adb.close`."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(*_LOST):
                device.close()

    def _open_device(self) -> Any:
        if self._device is None:
            raise ConnectionLostError(f"the phone {self.serial} is not connected.")
        return self._device

    @contextlib.contextmanager
    def _losses_explained(self) -> Iterator[None]:
        """Name every way to lose the phone; what is left of the connection cannot be trusted and is closed."""
        try:
            yield
        except _LOST as error:
            self.close()
            raise ConnectionLostError(
                f"the connection to the phone {self.serial} broke ({error}); check its cable or network and run "
                "this again."
            ) from error
        except BaseException as error:
            if not isinstance(error, DeviceError):
                self.close()  # an interrupt in the middle of a packet
            raise


class _OpenStream:
    """A service that stays open beside others."""

    def __init__(self, device: Any, stream: Any) -> None:
        self._device = device
        self._stream = stream

    def close(self) -> None:
        """Say goodbye; the phone then ends the service."""
        goodbye = AdbMessage(constants.CLSE, self._stream.local_id, self._stream.remote_id)
        with contextlib.suppress(*_LOST):
            self._device._io_manager.send(goodbye, self._stream)


def open_tcp(host: str, port: int, waits: Waits) -> DirectAdb:
    """Connect to a phone by its address; see `DirectAdb`."""
    return DirectAdb(f"{host}:{port}", lambda: WholeTcpTransport(host, port), waits)


def open_usb(serial: str, waits: Waits) -> DirectAdb:
    """Connect to a phone on a USB cable that no adb server holds; see `DirectAdb`."""
    from adb_shell.transport.usb_transport import UsbTransport  # type: ignore[import-untyped]

    return DirectAdb(serial, lambda: UsbTransport.find_adb(serial), waits)


def _no_answer(serial: str, error: Exception) -> NotConnectedError:
    return NotConnectedError(
        f"the phone {serial} does not answer ({error}); check that it is on, connected, has USB debugging allowed, "
        "and that no other program holds it."
    )


def _key() -> Any:
    """Return this user's adb key, the same that the adb program uses; make one where there is none."""
    home = os.environ.get("ANDROID_USER_HOME")
    path = (Path(home) if home else Path.home() / ".android") / "adbkey"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
            keygen(str(part))
            part.chmod(0o600)
            Path(f"{part}.pub").replace(f"{path}.pub")
            part.replace(path)
        elif not Path(f"{path}.pub").exists():
            write_public_keyfile(str(path), f"{path}.pub")
        return PythonRSASigner.FromRSAKeyPath(str(path))
    except (OSError, ValueError) as error:
        raise DeviceError(f"cannot read or make the adb key {path}: {error}; move it away and try again.") from error
