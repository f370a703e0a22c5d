"""amc-hw with one device more, `simulated`, whose times follow a formula: the same command gives the same result.

python benchmarks/simulated_cli.py search --device simulated ...
"""

from __future__ import annotations

import sys
from pathlib import Path

from amc_hw.cli.main import main
from amc_hw.devices import table_only
from amc_hw.devices.base import Device
from amc_hw.policy import Precision

TESTS = Path(__file__).resolve().parents[1] / "tests"
SIMULATED = "simulated"
_open_device, _require_device_name = table_only.open_device, table_only.require_device_name


def open_device(name: str, precision: Precision = "fp32") -> Device:
    """Open the simulated device of the tests, or a real one."""
    if name != SIMULATED:
        return _open_device(name, precision)
    sys.path.insert(0, str(TESTS / "support"))
    from simulated_device import SimulatedDevice

    device = SimulatedDevice()
    device.precision = precision
    return device


def require_device_name(name: str, precision: Precision = "fp32") -> None:
    """Know one name more."""
    if name != SIMULATED:
        _require_device_name(name, precision)


if __name__ == "__main__":
    table_only.open_device, table_only.require_device_name = open_device, require_device_name
    main()
