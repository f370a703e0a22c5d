"""What every device can do, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from amc_hw.latency.table import Fingerprint


@dataclass(frozen=True)
class Kernel:
    """One kernel that ran inside a network: its name in the runtime and one time for each run, in us."""

    name: str
    samples_us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        """Median over the runs."""
        return float(np.median(self.samples_us))


class Device(Protocol):
    """A machine that runs exported models and tells how long they and their kernels take."""

    name: str

    def fingerprint(self) -> Fingerprint:
        """Tell what the measurements of this device belong to."""

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        """Run a model ``warmup + runs`` times and return the wall-clock time of the last ``runs``, in us.

        Raises:
            DeviceError: the model did not run, or not as often as asked.
        """

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        """Run a model with the runtime's profiler on and return every kernel in the order of execution.

        Raises:
            DeviceError: the model did not run, or the runtime reported no kernels.
        """

    def close(self) -> None:
        """Let the device go: no process of ours stays on it."""
