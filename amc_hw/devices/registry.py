"""Finds a device by the name that the user wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amc_hw.devices.base import Device
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
    """Open a device: ``host``, or ``host:threads=2``.

    Raises:
        UsageError: there is no such device, or an option it does not have.
        DeviceError: the device is there but cannot be used.
    """
    kind, _, options = name.partition(":")
    if kind not in _KINDS:
        raise unknown_name("device", kind, _KINDS)
    return _KINDS[kind](**_options(name, options))


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
    return [Found("host", "this machine's processor with LiteRT (XNNPACK)", missing)]
