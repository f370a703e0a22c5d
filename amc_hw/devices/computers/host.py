"""This machine's processor as a device: LiteRT with XNNPACK in a process of its own, held to fixed cores."""

from __future__ import annotations

import os
from importlib.util import find_spec

from amc_hw.devices.computers.machines import Machine, ThisMachine
from amc_hw.devices.computers.profiled import ProfiledDevice
from amc_hw.errors import DeviceError, UsageError


class HostDevice(ProfiledDevice):
    """A processor that runs TFLite files.

    Args:
        threads: threads of the runtime; the process is held to as many cores.
        name: as the user wrote it.
        machine: where it is; by default here.

    Raises:
        UsageError: more threads than this machine has cores.
        DeviceError: LiteRT is not installed.
    """

    def __init__(self, threads: int = 1, *, name: str = "", machine: Machine | None = None) -> None:
        if machine is None:
            require_cores(threads)
            if find_spec("ai_edge_litert") is None:
                raise DeviceError(
                    "the device 'host' needs LiteRT: pip install ai-edge-litert; or measure with device=onnx"
                )
        super().__init__(
            name or ("host" if threads == 1 else f"host:threads={threads}"),
            machine or ThisMachine(),
            "time_litert.py",
            ["--threads", str(threads)],
            file_format="tflite",
            threads=threads,
        )


def own_cores() -> int:
    """Return how many cores of this machine may be used."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_cores(threads: int) -> None:
    """Raise UsageError where this machine has fewer cores than threads are wanted."""
    cores = own_cores()
    if not 1 <= threads <= cores:
        raise UsageError(f"this machine has {cores} cores, so threads must be 1 to {cores}.")
