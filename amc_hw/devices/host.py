"""This machine's processor as a device: LiteRT with XNNPACK in a process of its own, held to fixed cores."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from amc_hw.devices.base import Kernel
from amc_hw.devices.profiler_process import ProfilerProcess
from amc_hw.errors import DeviceError, UsageError
from amc_hw.latency.table import Fingerprint
from amc_hw.shipped import shipped


class HostDevice:
    """This machine.

    Args:
        threads: threads of the runtime; the process is held to as many cores.

    Raises:
        UsageError: more threads than this machine has cores.
        DeviceError: LiteRT is not installed.
    """

    def __init__(self, threads: int = 1) -> None:
        cores = _cores()
        if not 1 <= threads <= len(cores):
            raise UsageError(f"this machine has {len(cores)} cores, so threads must be 1 to {len(cores)}.")
        if find_spec("ai_edge_litert") is None:
            raise DeviceError("the device 'host' needs LiteRT; install it with: pip install ai-edge-litert")
        self.name = "host" if threads == 1 else f"host:threads={threads}"
        self._threads = threads
        self._cores = ",".join(map(str, cores[:threads]))
        program = str(shipped("profilers") / "time_litert.py")
        # -P keeps a program's neighbours from shadowing libraries of the same name; it came with Python 3.11.
        isolate = ["-P"] if sys.version_info >= (3, 11) else []
        self._profiler = ProfilerProcess(
            [sys.executable, *isolate, program, "--threads", str(threads), "--cores", self._cores]
        )

    def fingerprint(self) -> Fingerprint:
        """Tell what the measurements of this machine belong to."""
        described = self._profiler.request(do="describe")
        return Fingerprint(
            device=f"{described['processor']} ({described['architecture']})",
            processor=str(described["processor"]),
            system=str(described["system"]),
            runtime=str(described["runtime"]),
            runtime_version=str(described["runtime_version"]),
            threads=self._threads,
            cores=self._cores,
            delegate="xnnpack",
        )

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        """See `Device.time_model`."""
        answer = self._profiler.request(do="time_model", file=str(file), warmup=warmup, runs=runs)
        samples = [float(sample) for sample in answer["samples_us"]]
        if len(samples) != runs:
            raise DeviceError(f"{file.name} ran {len(samples)} times instead of {runs}.")
        return samples

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        """See `Device.time_kernels`."""
        answer = self._profiler.request(do="time_kernels", file=str(file), warmup=warmup, runs=runs)
        return [Kernel(kernel["name"], tuple(kernel["samples_us"])) for kernel in answer["kernels"]]

    def close(self) -> None:
        """End the profiler's process."""
        self._profiler.close()


def _cores() -> list[int]:
    """Processor numbers that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
