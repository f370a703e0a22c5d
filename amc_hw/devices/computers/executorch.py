"""This machine's processor as a device: ExecuTorch with XNNPACK in a process of its own, held to fixed cores."""

from __future__ import annotations

from importlib.util import find_spec

from amc_hw.devices.computers.host import require_cores
from amc_hw.devices.computers.machines import Machine, ThisMachine
from amc_hw.devices.computers.profiled import ProfiledDevice
from amc_hw.errors import DeviceError


class ExecutorchDevice(ProfiledDevice):
    """A processor that runs ExecuTorch files.

    Args:
        threads: threads of the runtime; the process is held to as many cores.
        name: as the user wrote it.
        machine: where it is; by default here.

    Raises:
        UsageError: more threads than this machine has cores.
        NotConnectedError: the machine is not in reach.
        DeviceError: ExecuTorch is not installed.
    """

    def __init__(self, threads: int = 1, *, name: str = "executorch", machine: Machine | None = None) -> None:
        if machine is None:
            require_cores(threads)
            if find_spec("executorch") is None:
                raise DeviceError("the device 'executorch' needs an extra of amc-hw: pip install 'amc-hw[executorch]'")
        super().__init__(
            name,
            machine or ThisMachine(),
            "time_executorch.py",
            ["--threads", str(threads)],
            file_format="pte",
            threads=threads,
        )
