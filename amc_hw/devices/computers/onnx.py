"""ONNX Runtime as a device, with any of its execution providers, in a process of its own."""

from __future__ import annotations

from importlib.util import find_spec

from amc_hw.devices.computers.host import require_cores
from amc_hw.devices.computers.machines import Machine, ThisMachine
from amc_hw.devices.computers.profiled import ProfiledDevice
from amc_hw.errors import DeviceError

_ENDING = "ExecutionProvider"


def installed_providers() -> list[str]:
    """Return the providers of the ONNX Runtime that is installed here, as ``provider=`` takes them."""
    from onnxruntime import get_available_providers

    return sorted(name.removesuffix(_ENDING).lower() for name in get_available_providers())


class OnnxDevice(ProfiledDevice):
    """A machine that runs ONNX files.

    Args:
        threads: threads of the runtime; the process is held to as many cores.
        provider: ONNX Runtime's execution provider: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``, ``coreml`` ...
        batch_size: images for each run.
        name: as the user wrote it.
        machine: where it is; by default here.

    Raises:
        UsageError: more threads than this machine has cores.
        NotConnectedError: the machine is not in reach.
        DeviceError: ONNX Runtime is not installed there, or has no such provider.
    """

    def __init__(
        self,
        threads: int = 1,
        provider: str = "cpu",
        batch_size: int = 1,
        *,
        name: str = "onnx",
        machine: Machine | None = None,
    ) -> None:
        if machine is None:
            require_cores(threads)
            if find_spec("onnxruntime") is None:
                raise DeviceError("the device 'onnx' needs an extra of amc-hw: pip install 'amc-hw[onnx]'")
        super().__init__(
            name,
            machine or ThisMachine(),
            "time_onnx.py",
            ["--threads", str(threads), "--provider", provider, "--batch-size", str(batch_size)],
            file_format="onnx",
            threads=threads,
            batch_size=batch_size,
        )
