"""Simulated devices that resemble others, and one that resembles nothing."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

from black_box import share_us
from simulated_device import SimulatedDevice, microseconds

from amc_hw.devices.base import Kernel
from amc_hw.devices.effort import Effort
from amc_hw.errors import DeviceError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.operators import Operator

SLOWER = {"CONV_2D": 1.7, "FULLY_CONNECTED": 1.2, "MEAN": 2.5}


class Relative(SimulatedDevice):
    """Keeps count of the networks that it ran; ``formula`` is what an operator takes, in microseconds."""

    effort = Effort(networks=24, calibration=12, visits=4, totals=60, total_visits=2)

    def __init__(self, name: str = "first", noise: float = 0.0) -> None:
        super().__init__(noise=noise)
        self.name = name
        self.networks: set[tuple[tuple[str, int, int], ...]] = set()

    def fingerprint(self) -> Fingerprint:
        return super().fingerprint().model_copy(update={"device": self.name})

    def formula(self, operator: Operator) -> float:
        return microseconds(operator)

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        operators = self._operators(file)
        self.networks.add(tuple((operator.family, operator.c_in, operator.c_out) for operator in operators))
        total = 15.0 + self.overhead * sum(map(self.formula, operators))
        return [total * float(factor) for factor in self._factors(runs)]

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        operators = self._operators(file)
        self.networks.add(tuple((operator.family, operator.c_in, operator.c_out) for operator in operators))
        return [
            Kernel(operator.kind, tuple(self.formula(operator) * self._factors(runs)))
            for operator in operators
            if self.formula(operator)
        ]


class Cousin(Relative):
    """Every kind of operator is slower by a factor of its own, and every call by a constant."""

    def formula(self, operator: Operator) -> float:
        us = microseconds(operator)
        return 0.8 + SLOWER.get(operator.kind, 1.0) * us if us else 0.0


class Closed(Relative):
    """Tells whole networks' times alone; what has no filter is fused."""

    operator_times = False

    def fingerprint(self) -> Fingerprint:
        return super().fingerprint().model_copy(update={"delegate": "box"})

    def formula(self, operator: Operator) -> float:
        return share_us(operator, 8)

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        raise DeviceError("it tells no operator's time.")


class ClosedCousin(Closed):
    """The same with its convolutions slower than its classifier."""

    def formula(self, operator: Operator) -> float:
        return SLOWER.get(operator.kind, 1.0) * super().formula(operator)


class Stranger(Relative):
    """What an operator takes has nothing to do with what it takes elsewhere."""

    def formula(self, operator: Operator) -> float:
        key = f"{operator.family} {operator.c_in} {operator.c_out}".encode()
        return 5.0 * math.exp(zlib.crc32(key) % 1000 / 250)


class ClosedStranger(Stranger, Closed):
    """Such a one that tells whole networks' times alone."""
