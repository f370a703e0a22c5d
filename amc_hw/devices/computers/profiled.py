"""What all devices share that are measured by a profiler program, here or on another machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from amc_hw.devices.base import Device, Kernel, NotConnectedError
from amc_hw.devices.computers.machines import Machine
from amc_hw.devices.computers.profiler_process import Answer, ProfilerDiedError, RequestFailedError
from amc_hw.devices.turn import Turn
from amc_hw.errors import DeviceError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.policy import DTYPES

_LOG = logging.getLogger(__name__)
MOST_NAMED = 8
"""Operators that a sentence names."""


class ProfiledDevice(Device):
    """A device behind a program of the folder ``profilers``.

    Args:
        name: as the user wrote it.
        machine: where the program runs.
        program: its file name.
        arguments: what it is started with.
        file_format: what it runs.
        threads: of the runtime.
        dtype: of the weights and activations while the model runs.
        batch_size: images for each run.

    Raises:
        NotConnectedError: the machine is not in reach.
        DeviceError: the program cannot run there.
    """

    turn: Turn

    def __init__(
        self,
        name: str,
        machine: Machine,
        program: str,
        arguments: Sequence[str],
        *,
        file_format: str,
        threads: int = 1,
        dtype: str = "float32",
        batch_size: int = 1,
    ) -> None:
        self.name = name
        self.format = file_format
        self.turn = machine.turn(name)
        self._machine = machine
        self._profiler = machine.start(program, arguments)
        try:
            about = self._profiler.request(do="describe")
        except ProfilerDiedError as error:
            self._profiler.close()
            raise machine.explain(error) from error
        self._fingerprint = Fingerprint(
            device=f"{about['processor']} ({about['architecture']})",
            processor=str(about["processor"]),
            system=str(about["system"]),
            runtime=str(about["runtime"]),
            runtime_version=str(about["runtime_version"]),
            threads=threads,
            cores=str(about["cores"]),
            delegate=str(about["delegate"]),
            dtype=dtype,
            batch_size=batch_size,
        )
        self.operator_times = bool(about.get("operator_times", True))
        self._notes: list[str] = []

    def notes(self) -> list[str]:
        """See `Device.notes`."""
        return self._notes

    def fingerprint(self) -> Fingerprint:
        """Tell what the measurements of this device belong to."""
        if self.precision == "fp32":
            return self._fingerprint
        return self._fingerprint.model_copy(update={"dtype": DTYPES[self.precision]})

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        """See `Device.time_model`."""
        answer = self._ask("time_model", file, warmup, runs)
        samples = [float(sample) for sample in answer["samples_us"]]
        if len(samples) != runs:
            raise DeviceError(f"{file.name} ran {len(samples)} times instead of {runs}.")
        if left := answer.get("on_cpu"):
            self._tell_left(left)
        return samples

    def _tell_left(self, operators: Sequence[str]) -> None:
        """Say which operators of a network the runtime's provider left to the CPU; once for each list of them."""
        listed = ", ".join(operators[:MOST_NAMED]) + (", ..." if len(operators) > MOST_NAMED else "")
        note = f"{self._fingerprint.delegate} left {len(operators)} operators to the CPU: {listed}"
        if note not in self._notes:
            self._notes.append(note)
            _LOG.warning("%s", note)

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        """See `Device.time_kernels`."""
        if not self.operator_times:
            raise DeviceError(f"'{self.name}' tells the time of a whole network alone, not that of its operators.")
        answer = self._ask("time_kernels", file, warmup, runs)
        return [Kernel(kernel["name"], tuple(kernel["samples_us"])) for kernel in answer["kernels"]]

    def _ask(self, verb: str, file: Path, warmup: int, runs: int) -> Answer:
        try:
            return self._ask_once(verb, file, warmup, runs)
        except RequestFailedError as error:
            raise self._refused(file, error.reason) from error
        except ProfilerDiedError as error:
            cause = self._machine.explain(error)
            if isinstance(cause, NotConnectedError):
                raise cause from error
            raise self._refused(file, str(error)) from error

    def _refused(self, file: Path, reason: str) -> DeviceError:
        return DeviceError(
            f"'{self.name}' cannot run {file}: {reason.rstrip(' .')}; if the file is damaged, make it again with: "
            f"amc-hw export --run RUN --format {self.format}"
        )

    def _ask_once(self, verb: str, file: Path, warmup: int, runs: int) -> Answer:
        there = self._machine.put(self._profiler, file)
        try:
            return self._profiler.request(do=verb, file=there, warmup=warmup, runs=runs)
        except DeviceError:
            again = self._machine.put(self._profiler, file)
            if again == there:
                raise
            # The program was started again meanwhile and had lost the file.
            return self._profiler.request(do=verb, file=again, warmup=warmup, runs=runs)

    def close(self) -> None:
        """End the profiler's process and leave the machine to others."""
        self._profiler.close()
        self.turn.leave()
