"""Whether a device is there, for tests that wait for one or take it away."""

from __future__ import annotations

from amc_hw.devices.base import NotConnectedError
from amc_hw.devices.registry import open_device


def is_connected(name: str) -> bool:
    """Tell whether a device can be measured now; whatever else is wrong with it or its name is raised."""
    try:
        open_device(name).close()
    except NotConnectedError:
        return False
    return True
