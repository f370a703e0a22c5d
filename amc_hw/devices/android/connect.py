"""Which phone a name stands for here, and the way to it: by TCP, through the adb server, or by USB."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from amc_hw.devices.android.adb import Adb, Waits
from amc_hw.devices.android.devices_file import PhoneSettings
from amc_hw.devices.base import NotConnectedError
from amc_hw.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from amc_hw.devices.android.adb_server import Attached

INSTALL = "pip install 'amc-hw[android]'"
INSTALL_USB = "pip install 'amc-hw[android-usb]'"


def connect(settings: PhoneSettings, waits: Waits) -> Adb:
    """Connect to the phone that the settings name, or to the only one there is.

    Raises:
        UsageError: nothing names one of several phones.
        NotConnectedError: it is not there, or not ready; the message has the cure.
        DeviceError: the libraries for adb are not installed.
    """
    if settings.address is not None:
        require_library("adb_shell")
        from amc_hw.devices.android.adb_direct import open_tcp

        return open_tcp(*settings.address, waits)
    require_library("adbutils")
    from amc_hw.devices.android.adb_server import ServerAdb, is_server_running, list_attached, start_server

    # A server holds all phones on cables; without one, each is ours to open.
    if not is_server_running() and not has_usb():
        start_server()
    if is_server_running():
        serial = settings.serial or _only(list_attached(waits), settings.codenames)
        return ServerAdb(serial, waits)
    if has_usb():
        from amc_hw.devices.android.adb_direct import open_usb

        return open_usb(settings.serial or _only(usb_phones(), ()), waits)
    raise NotConnectedError(
        f"no adb server is running; install adb and start it with: adb start-server, or for phones on a cable "
        f"without it: {INSTALL_USB}"
    )


def _only(phones: list[Attached], codenames: tuple[str, ...]) -> str:
    """Return the serial of the one phone that fits."""
    # A phone that does not let us in yet does not tell what it is.
    fitting = [phone for phone in phones if not codenames or phone.codename in (*codenames, "")]
    if len(fitting) == 1:
        return fitting[0].serial
    if fitting:
        names = " and ".join(f"{phone.serial} ({phone.model or phone.state})" for phone in fitting)
        raise UsageError(f"several phones are connected: {names}; name one: device=android:{fitting[0].serial}")
    which = f"phone ({' or '.join(codenames)})" if codenames else "phone"
    others = f"; connected: {', '.join(f'{p.serial} ({p.model or p.state})' for p in phones)}" if phones else ""
    raise NotConnectedError(
        f"no such {which} is connected{others}; plug it in with USB debugging on, or name it: device=android:SERIAL "
        "or android:HOST:PORT"
    )


def usb_phones() -> list[Attached]:
    """List the phones on USB cables that no adb server holds."""
    import usb1  # type: ignore[import-not-found]
    from adb_shell.transport.usb_transport import UsbTransport  # type: ignore[import-untyped]

    from amc_hw.devices.android.adb_server import Attached

    try:
        return [Attached(str(phone.serial_number), "device", "", "") for phone in UsbTransport.find_all_adb_devices()]
    except (OSError, usb1.USBError):
        return []


def has_usb() -> bool:
    """Tell whether phones can be reached by USB without an adb server."""
    return find_spec("usb1") is not None and find_spec("adb_shell") is not None


def require_library(name: str) -> None:
    """Raise DeviceError where an optional library is missing."""
    if find_spec(name) is None:
        raise DeviceError(f"phones need the library {name}; install it with: {INSTALL}")
