"""The GPU as a device, without one: what its program is asked for, what is kept of its answers, and its refusal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from amc_hw.devices.computers.cuda import CudaDevice
from amc_hw.devices.computers.machines import ThisMachine
from amc_hw.devices.computers.profiler_process import ProfilerProcess
from amc_hw.errors import DeviceError

PROGRAM = """
import json, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for line in sys.stdin:
    request = json.loads(line)
    state = {"clock_mhz": 1400.0 + request.get("runs", 0), "clock_max_mhz": 1980.0, "temperature_c": 51.0}
    gpu = {"before": state, "after": {**state, "temperature_c": 63.0}}
    answer = {
        "describe": {
            "processor": "A GPU", "architecture": "x", "system": "y", "runtime": f"torch ({options['--mode']})",
            "runtime_version": "1", "delegate": "none", "cores": "any",
        },
        "time_model": {"samples_us": [5.0] * request.get("runs", 0), "gpu": gpu},
        "time_kernels": {"kernels": [{"name": "conv2d", "samples_us": [2.0]}], "gpu": gpu},
    }[request["do"]]
    print(json.dumps(answer), flush=True)
"""


class Pretended(ThisMachine):
    """Answers as a machine with a GPU would."""

    def start(self, program: str, arguments: Sequence[str]) -> ProfilerProcess:
        assert program == "time_torch.py"
        return ProfilerProcess([sys.executable, "-c", PROGRAM, *arguments])


def test_what_decides_a_time_is_in_the_fingerprint_and_the_gpu_state_in_the_notes() -> None:
    device = CudaDevice(batch_size=32, dtype="bf16", mode="eager", machine=Pretended())
    try:
        fingerprint = device.fingerprint()
        assert (fingerprint.batch_size, fingerprint.dtype, fingerprint.runtime) == (32, "bfloat16", "torch (eager)")
        assert device.notes() == ["the GPU's clock and temperature are not known: nvidia-smi tells neither."]
        assert device.time_model(Path("m.aten"), warmup=1, runs=10) == [5.0] * 10
        assert [kernel.name for kernel in device.time_kernels(Path("m.aten"), warmup=1, runs=2)] == ["conv2d"]
        assert device.notes() == ["the GPU ran at 1402 to 1410 of 1980 MHz, at 63 C at most."]
    finally:
        device.close()


def test_no_gpu_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # where there is one
    with pytest.raises(DeviceError, match=r"no CUDA device here, because .{10,}"):
        CudaDevice()
