"""Tasks are tried on a device whose times are made up: measuring takes long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amc_hw.devices import turns
from amc_hw.policy import Precision


@pytest.fixture(scope="module")
def simulated() -> Iterator[None]:
    """Whatever device is asked for is a simulated one that runs TFLite files."""
    from simulated_device import SimulatedDevice

    def opened(name: str, table: Path | None, precision: Precision) -> SimulatedDevice:
        device = SimulatedDevice(1.0)
        device.precision = precision
        return device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "open_or_predict", opened)
        yield
