"""Finds a device by the name that the user wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amc_hw.devices.android_names import KIND, found_phones, is_phone, open_phone
from amc_hw.devices.base import Device, NotConnectedError
from amc_hw.devices.devices_file import named_phones
from amc_hw.devices.host import HostDevice
from amc_hw.errors import UsageError, unknown_name

_KINDS: dict[str, Callable[..., Device]] = {"host": HostDevice}


@dataclass(frozen=True)
class Found:
    """A device that can be named here, and what is missing if it cannot be used."""

    name: str
    description: str
    missing: str = ""


def open_device(name: str) -> Device:
    """Open a device: ``host``, ``host:threads=2``, ``android:SERIAL``, ``android:HOST:PORT``, ``pixel1`` ...

    Raises:
        UsageError: there is no such device, or an option it does not have.
        NotConnectedError: the device is known by name, but it is not here now.
        DeviceError: the device is there but cannot be used.
    """
    kind, _, options = name.partition(":")
    if is_phone(name):
        return open_phone(name)
    _require_kind(kind)
    return _KINDS[kind](**_options(name, options))


def is_connected(name: str) -> bool:
    """Tell whether a device can be measured now; raise UsageError where there is none of that name.

    Raises:
        DeviceError: the device is there but cannot be used.
    """
    try:
        open_device(name).close()
    except NotConnectedError:
        return False
    return True


def clean_device(name: str) -> None:
    """Remove everything that amc-hw put on a device.

    Raises:
        UsageError: there is no such device, or nothing is ever put on it.
        DeviceError: it is not here, or refuses.
    """
    if not is_phone(name):
        raise UsageError(f"nothing is put on the device '{name}'; only phones are cleaned: android, android:SERIAL ...")
    phone = open_phone(name)
    try:
        phone.clean()
    finally:
        phone.close()


def _require_kind(kind: str) -> None:
    if kind not in _KINDS:
        raise unknown_name("device", kind, (*_KINDS, KIND, *named_phones()))


def _options(name: str, text: str) -> dict[str, int]:
    """Read ``threads=2``."""
    options: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key != "threads":
            raise UsageError(f"the device '{name}' has an unknown option '{key}'; known: threads (host:threads=2).")
        if not value.isdigit():
            raise UsageError(f"the option threads of the device '{name}' takes a whole number (host:threads=2).")
        options[key] = int(value)
    return options


def found_devices() -> list[Found]:
    """List what can be measured from here."""
    from importlib.util import find_spec

    missing = "" if find_spec("ai_edge_litert") else "LiteRT: pip install ai-edge-litert"
    phones = [Found(phone.name, phone.description, phone.missing) for phone in found_phones()]
    return [Found("host", "this machine's processor with LiteRT (XNNPACK)", missing), *phones]
