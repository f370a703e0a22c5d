"""A machine with a GPU whose times are made up, for what is done with a GPU's answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from amc_hw.devices.computers.machines import ThisMachine
from amc_hw.devices.computers.profiler_process import ProfilerProcess


class PretendedGpu(ThisMachine):
    """This machine, if it had a GPU."""

    def start(self, program: str, arguments: Sequence[str]) -> ProfilerProcess:
        assert program == "time_torch.py"
        return ProfilerProcess([sys.executable, str(Path(__file__).with_name("made_up_gpu.py")), *arguments])
