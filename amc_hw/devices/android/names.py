"""Opens phones by name (``android``, ``android:SERIAL``, ``pixel1``, a name of the devices file) and lists them."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from amc_hw.devices.android.adb import Waits
from amc_hw.devices.android.connect import INSTALL, connect, has_usb, usb_phones
from amc_hw.devices.android.devices_file import (
    KNOWN_PHONES,
    OPTIONS,
    PhoneSettings,
    named_phones,
    read_address,
    with_options,
)
from amc_hw.devices.android.phone import AndroidDevice
from amc_hw.devices.android.phone_properties import read_properties
from amc_hw.errors import AmcHwError, DeviceError, UsageError
from amc_hw.runs.file_lock import FileLock

if TYPE_CHECKING:
    from amc_hw.devices.android.adb_server import Attached

KIND = "android"
BUSY = "another amc-hw is measuring on it; wait until it is done"
LOOK_S = 2.0
"""Listing phones waits no longer for any of them; all are asked at once."""


@dataclass(frozen=True)
class Phone:
    """A phone that can be named here.

    Attributes:
        name: as ``--device`` takes it.
        description: what it is.
        missing: what keeps it from being measured, "" for nothing.
        serial: its own, whichever way it is reached; "" where it does not tell.
        settings: how it is measured.
    """

    name: str
    description: str
    missing: str = ""
    serial: str = ""
    settings: PhoneSettings = field(default_factory=PhoneSettings)


def is_phone(name: str) -> bool:
    """Tell whether a device's name is that of a phone."""
    kind = name.partition(":")[0]
    return kind == KIND or kind in named_phones()


def phone_settings(name: str) -> PhoneSettings:
    """Read a phone's name with its options: ``android:SERIAL,threads=4``, ``pixel1:cores=c,delegate=gpu``.

    Raises:
        UsageError: an unknown option, an impossible value or a damaged devices file.
    """
    kind, _, rest = name.partition(":")
    parts = [part for part in rest.split(",") if part]
    options = dict(part.split("=", 1) for part in parts if "=" in part)
    targets = [part for part in parts if "=" not in part]
    settings = PhoneSettings() if kind == KIND else named_phones()[kind]
    for target in targets:
        if target in OPTIONS:
            raise UsageError(f"the device '{name}' has no value for {target}; write {target}=VALUE.")
        if settings.serial or settings.address:
            raise UsageError(
                f"the device '{name}' names two phones: the devices file says which one {kind} is; leave {target} out."
            )
        address = read_address(target)
        settings = replace(settings, address=address, serial=None if address else target)
    return with_options(settings, options, f"the device '{name}'")


def open_phone(name: str, waits: Waits | None = None) -> AndroidDevice:
    """Connect to a phone.

    Raises:
        UsageError: a bad name, or nothing names one of several phones.
        NotConnectedError: it is not there, or not ready.
        DeviceError: a library is missing, or another amc-hw measures there.
    """
    waits = waits or Waits()
    settings = phone_settings(name)
    adb = connect(settings, waits)
    try:
        return AndroidDevice(name, adb, settings, waits)
    except BaseException:
        adb.close()
        raise


def found_phones() -> list[Phone]:
    """List the phones of the devices file and those that are attached, each once, with what to do about it."""
    if find_spec("adbutils") is None or find_spec("adb_shell") is None:
        return [Phone(KIND, "phones over adb", INSTALL)]
    waits = Waits(connect_s=LOOK_S, authorise_s=LOOK_S, command_s=LOOK_S, stall_s=LOOK_S)
    own = {name: phone for name, phone in named_phones().items() if name not in KNOWN_PHONES}
    named = {own_name for phone in own.values() for own_name in (phone.serial, _written(phone.address)) if own_name}
    attached = [phone for phone in _attached(waits) if phone.serial not in named]
    looks = [(name, "", settings) for name, settings in own.items()]
    looks += [(f"{KIND}:{p.serial}", p.model, PhoneSettings(serial=p.serial)) for p in attached]
    if not looks:
        cure = "plug one in with USB debugging on, start the server with: adb start-server, or name android:HOST:PORT"
        return [Phone(KIND, f"phones over adb (also {', '.join(KNOWN_PHONES)})", cure)]
    with ThreadPoolExecutor(len(looks)) as pool:
        phones = list(pool.map(lambda look: _look(look[0], look[1], look[2], waits), looks))
    known = {
        phone.serial for phone in phones[: len(own)] if phone.serial
    }  # one on a cable that is named by its address
    return [phone for place, phone in enumerate(phones) if place < len(own) or phone.serial not in known]


def _written(address: tuple[str, int] | None) -> str:
    """Return an address as an adb server writes it in place of a serial."""
    return "" if address is None else f"{address[0]}:{address[1]}"


def _attached(waits: Waits) -> list[Attached]:
    from amc_hw.devices.android.adb_server import is_server_running, list_attached

    with contextlib.suppress(DeviceError):
        if is_server_running():
            return list_attached(waits)
        if has_usb():
            return usb_phones()
    return []


def _look(name: str, model: str, settings: PhoneSettings, waits: Waits) -> Phone:
    """Ask a phone what it is."""
    try:
        adb = connect(settings, waits)
    except AmcHwError as error:
        return Phone(name, model or "a phone", str(error), settings=settings)
    try:
        known = read_properties(adb, waits.command_s)
        lock = FileLock(known["serial"] or adb.serial)
        busy = not lock.take()
        lock.release()
    except DeviceError as error:
        return Phone(name, model or "a phone", str(error), settings=settings)
    finally:
        adb.close()
    maker = " ".join(filter(None, (known["manufacturer"], known["model"]))) or "a phone"
    what = f"{maker}, {known['soc'] or known['board'] or known['hardware']}, Android {known['android']}"
    return Phone(name, what, busy * BUSY, known["serial"], settings)
