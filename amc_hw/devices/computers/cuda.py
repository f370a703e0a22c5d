"""An NVIDIA GPU as a device: PyTorch, as a captured CUDA graph or eagerly, in a process of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from amc_hw.devices.computers.gpu_state import GpuState, summary
from amc_hw.devices.computers.machines import Machine, ThisMachine
from amc_hw.devices.computers.profiled import ProfiledDevice
from amc_hw.devices.computers.profiler_process import Answer
from amc_hw.policy import TF32

DTYPES = {"fp32": "float32", "tf32": TF32}
"""In what files of fp32 are computed; those of 16 bits are computed as they are."""
TRIES = 3
"""Times that something is measured on a GPU that is held back."""
COOL_S = 10.0
"""Wait before the next of them."""

_LOG = logging.getLogger(__name__)


class CudaDevice(ProfiledDevice):
    """A GPU that runs networks of ATen calls.

    Args:
        batch_size: images for each run.
        mode: ``graph`` (a CUDA graph: gaps between launches do not count) or ``eager`` (they do).
        dtype: in what files of fp32 are computed, ``fp32`` or ``tf32``.
        layout: ``channels_last`` or ``contiguous``.
        l2: the second-level cache before each run, ``warm`` or ``cold``.
        name: as the user wrote it.
        machine: where it is; by default here.
        sleep: waits for seconds.

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
        sleep: Callable[[float], None] = time.sleep,
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
        self._states: list[GpuState] = []
        self._held_back: list[str] = []
        self._sleep = sleep

    def notes(self) -> list[str]:
        """What is worth a word of the GPU's clock, heat and power while it measured."""
        kinds = " and ".join(dict.fromkeys(self._held_back))
        held = f"the GPU was held back in {len(self._held_back)} measurements that count: {kinds}."
        return [*summary(self._states), *([held] if self._held_back else [])]

    def _ask(self, verb: str, file: Path, warmup: int, runs: int) -> Answer:
        """Measure while nothing holds the GPU back; again where something did, and after some tries all the same."""
        trouble = ""
        for tried in range(1, TRIES + 1):
            answer = super()._ask(verb, file, warmup, runs)
            states = [GpuState.of(answer["gpu"][moment]) for moment in ("before", "after")]
            trouble = states[0].trouble() or states[1].trouble()
            if not trouble or tried == TRIES:
                break
            _LOG.warning("the GPU has to wait for %g s: %s", COOL_S, trouble)
            self._sleep(COOL_S)
        self._states += states
        if trouble:
            self._held_back.append(trouble)
            _LOG.warning("%s was measured although the GPU was held back: %s", file.name, trouble)
        return answer
