"""A simulated device that tells the time of whole networks alone."""

from __future__ import annotations

import math
from pathlib import Path

from simulated_device import SimulatedDevice

from amc_hw.devices.base import Kernel
from amc_hw.devices.effort import Effort
from amc_hw.errors import DeviceError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.operators import Operator


class BlackBox(SimulatedDevice):
    """Convolutions are padded to whole tiles of channels; whatever has no filter is fused, and takes no time."""

    name = "black box"
    operator_times = False
    effort = Effort(totals=60, total_visits=2)

    def __init__(self, tile: int = 8, noise: float = 0.0) -> None:
        super().__init__(overhead=1.0, noise=noise)
        self.tile = tile
        self.timed_models = 0

    def fingerprint(self) -> Fingerprint:
        return super().fingerprint().model_copy(update={"delegate": "box"})

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        self.timed_models += 1
        total = 20.0 + sum(share_us(operator, self.tile) for operator in self._operators(file))
        return [total * float(factor) for factor in self._factors(runs)]

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        raise DeviceError("the black box tells no operator's time.")


def share_us(operator: Operator, tile: int) -> float:
    """What an operator adds to the time of its network."""
    if not operator.fan_in:
        return 0.0
    return math.prod(operator.outputs[0][:-1]) * math.ceil(operator.c_out / tile) * tile * operator.fan_in / 2e4
