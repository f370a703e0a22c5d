"""What every device can do, and what it answers with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from amc_hw.devices.effort import Effort
from amc_hw.devices.turn import Turn
from amc_hw.errors import DeviceError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.table import LatencyTable
from amc_hw.policy import Precision

D = TypeVar("D", bound="Device")


class NotConnectedError(DeviceError):
    """The device is known by name, but it is not here now: what needs no measurement can go on without it."""


class BusyError(DeviceError):
    """Another program of this user measures on the device, or this one does under another name of it.

    Attributes:
        here: it is this one, which would wait for itself.
    """

    def __init__(self, message: str, *, here: bool = False) -> None:
        super().__init__(message)
        self.here = here


class CpuFallbackError(DeviceError):
    """An accelerator left operators of a network to the processor.

    Attributes:
        file: of the network.
    """

    def __init__(self, message: str, file: Path) -> None:
        super().__init__(message)
        self.file = file


class Times(list[float]):
    """What a runtime says of the runs of a model.

    One time in us for each run. Where the runtime tells no single runs, this is their mean alone, and what else it
    tells of them is in ``statistics``.

    Attributes:
        statistics: figures over the runs by name (``count``, ``min_us`` ...); empty where every run is known.
        log: the runtime's own words, where it has any.
    """

    def __init__(
        self, samples_us: Iterable[float], statistics: Mapping[str, float] | None = None, log: str = ""
    ) -> None:
        super().__init__(samples_us)
        self.statistics = dict(statistics or {})
        self.log = log


@dataclass(frozen=True)
class Kernel:
    """One kernel that ran inside a network: its name in the runtime and one time for each run, in us.

    A runtime that tells no single runs gives their mean, alone.
    """

    name: str
    samples_us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        """Median over the runs."""
        return float(np.median(self.samples_us))


class Device(Protocol):
    """A machine that runs exported models and tells how long they and their kernels take.

    Attributes:
        name: as the user writes it.
        format: the file format that it runs, which is also the files' ending: ``tflite``, ``onnx``.
        precision: of the files that it is measured with.
        effort: how much of its time a latency table may take.
        turn: this program's turns at its machine; None where nobody else can measure there at the same time.
        in_reach: whether it can be measured now; one that is not is known by its latency table alone.
        operator_times: whether `time_kernels` tells the time of every operator. A device that tells a whole network's
            time alone has a table, too: it is learned from many of them.
    """

    name: str
    format: str
    precision: Precision = "fp32"
    effort: Effort = Effort()
    turn: Turn | None = None
    in_reach: bool = True
    operator_times: bool = True

    def fingerprint(self) -> Fingerprint:
        """Tell what the measurements of this device belong to."""

    def known_table(self) -> LatencyTable | None:
        """Return the table that stands for a device out of reach; None for one that can be measured."""
        return None

    def require_reach(self) -> None:
        """Raise DeviceError where the device cannot be measured now."""
        return

    def notes(self) -> Sequence[str]:
        """Tell what is worth a word of how it measured, one sentence each; they go into the table."""
        return ()

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        """Run a model ``warmup + runs`` times and return the wall-clock time of the last ``runs``, in us.

        `Times` tells what to return where the runtime gives only statistics.

        Raises:
            DeviceError: the model did not run, or not as often as asked.
        """

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        """Run a model with the runtime's profiler on and return every kernel in the order of execution.

        Raises:
            DeviceError: the model did not run, or the runtime reports no kernels.
        """

    def close(self) -> None:
        """Let the device go: no process of ours stays on it."""

    def __enter__(self: D) -> D:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
