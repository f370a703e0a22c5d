"""What a phone is, as Android says."""

from __future__ import annotations

from amc_hw.devices.android.adb import Adb

_PROPERTIES = {
    "manufacturer": "ro.product.manufacturer",
    "model": "ro.product.model",
    "codename": "ro.product.device",
    "abi": "ro.product.cpu.abi",
    "maker": "ro.soc.manufacturer",
    "soc": "ro.soc.model",
    "board": "ro.board.platform",
    "hardware": "ro.hardware",
    "android": "ro.build.version.release",
    "sdk": "ro.build.version.sdk",
    "build": "ro.build.fingerprint",
    "serial": "ro.serialno",
}


def read_properties(adb: Adb, timeout_s: float) -> dict[str, str]:
    """Ask a phone what it is: `_PROPERTIES`' names -> values, "" where it does not tell."""
    output = adb.run("; ".join(f"getprop {name}" for name in _PROPERTIES.values()), timeout_s)
    lines = [line.strip() for line in output.stdout.splitlines()]
    return dict(zip(_PROPERTIES, [*lines, *[""] * len(_PROPERTIES)], strict=False))
