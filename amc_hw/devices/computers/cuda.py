"""An NVIDIA GPU as a device: PyTorch, as a captured CUDA graph or eagerly, in a process of its own."""

from __future__ import annotations

from pathlib import Path

from amc_hw.devices.computers.machines import Machine, ThisMachine
from amc_hw.devices.computers.profiled import ProfiledDevice
from amc_hw.devices.computers.profiler_process import Answer

DTYPES = {"fp32": "float32", "tf32": "tfloat32", "fp16": "float16", "bf16": "bfloat16"}


class CudaDevice(ProfiledDevice):
    """A GPU that runs networks of ATen calls.

    Args:
        batch_size: images for each run.
        mode: ``graph`` (a CUDA graph: gaps between launches do not count) or ``eager`` (they do).
        dtype: ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        layout: ``channels_last`` or ``contiguous``.
        l2: the second-level cache before each run, ``warm`` or ``cold``.
        name: as the user wrote it.
        machine: where it is; by default here.

    Raises:
        NotConnectedError: the machine is not in reach.
        DeviceError: there is no CUDA device; the message says why.
    """

    def __init__(
        self,
        batch_size: int = 1,
        mode: str = "graph",
        dtype: str = "fp32",
        layout: str = "channels_last",
        l2: str = "warm",
        *,
        name: str = "cuda",
        machine: Machine | None = None,
    ) -> None:
        options = {"mode": mode, "dtype": dtype, "layout": layout, "l2": l2, "batch-size": str(batch_size)}
        super().__init__(
            name,
            machine or ThisMachine(),
            "time_torch.py",
            [part for option, value in options.items() for part in (f"--{option}", value)],
            file_format="aten",
            dtype=DTYPES[dtype],
            batch_size=batch_size,
        )
        self._states: list[dict[str, float]] = []

    def notes(self) -> list[str]:
        """What is worth a word of the GPU's clock and temperature while it measured."""
        clocks = [state["clock_mhz"] for state in self._states if "clock_mhz" in state]
        if not clocks:
            return ["the GPU's clock and temperature are not known: nvidia-smi tells neither."]
        most = max(state.get("clock_max_mhz", 0) for state in self._states)
        hottest = max(state.get("temperature_c", 0) for state in self._states)
        return [f"the GPU ran at {min(clocks):.0f} to {max(clocks):.0f} of {most:.0f} MHz, at {hottest:.0f} C at most."]

    def _ask(self, verb: str, file: Path, warmup: int, runs: int) -> Answer:
        answer = super()._ask(verb, file, warmup, runs)
        self._states += [answer["gpu"]["before"], answer["gpu"]["after"]]
        return answer
