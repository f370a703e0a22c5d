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
from amc_hw.policy import as_precision

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
    device = CudaDevice(batch_size=32, dtype="tf32", mode="eager", machine=Pretended())
    try:
        for precision, dtype in (("fp32", "tfloat32"), ("fp16", "float16"), ("bf16", "bfloat16")):
            device.precision = as_precision(precision)
            fingerprint = device.fingerprint()
            assert (fingerprint.batch_size, fingerprint.dtype, fingerprint.runtime) == (32, dtype, "torch (eager)")
        assert device.notes() == ["the GPU's clock and temperature are not known: nvidia-smi tells neither."]
        assert device.time_model(Path("m.aten"), warmup=1, runs=10) == [5.0] * 10
        assert [kernel.name for kernel in device.time_kernels(Path("m.aten"), warmup=1, runs=2)] == ["conv2d"]
        assert device.notes() == ["the GPU ran at 1402 to 1410 of 1980 MHz, at 63 C at most."]
    finally:
        device.close()


HOT = """
import json, sys
hot = int(sys.argv.pop(1))
asked = 0
for line in sys.stdin:
    request = json.loads(line)
    asked += request["do"] != "describe"
    state = {"clock_mhz": 900.0, "clock_max_mhz": 1980.0, "temperature_c": 91.0, "power_w": 300.5, "power_state": 2.0}
    gpu = {"before": {**state, "reasons": 4.0}, "after": {**state, "reasons": 0x24 if asked <= hot else 4}}
    names = ("processor", "architecture", "system", "runtime", "runtime_version", "delegate", "cores")
    samples = [float(asked)] * request.get("runs", 0)
    answer = {"describe": dict.fromkeys(names, "x"), "time_model": {"samples_us": samples, "gpu": gpu}}
    print(json.dumps(answer[request["do"]]), flush=True)
"""


class Hot(ThisMachine):
    """A machine whose GPU is too hot in its first measurements."""

    def __init__(self, measurements: int) -> None:
        self.measurements = measurements

    def start(self, program: str, arguments: Sequence[str]) -> ProfilerProcess:
        return ProfilerProcess([sys.executable, "-c", HOT, str(self.measurements), *arguments])


def test_a_hot_gpu_is_waited_for_and_what_was_measured_meanwhile_does_not_count() -> None:
    waited: list[float] = []
    with CudaDevice(machine=Hot(2), sleep=waited.append) as device:
        assert device.time_model(Path("m.aten"), warmup=1, runs=2) == [3.0, 3.0]
        assert len(waited) == 2
        assert device.notes() == [
            "the GPU ran at 900 to 900 of 1980 MHz, at 91 C at most, with 300 W at most, in power state P2.",
            "the GPU was at its power limit in 2 of 2 looks.",
        ]


def test_a_gpu_that_stays_hot_is_measured_and_the_table_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with CudaDevice(machine=Hot(99), sleep=lambda seconds: None) as device:
        assert device.time_model(Path("m.aten"), warmup=1, runs=2) == [3.0, 3.0]
        assert device.notes()[-1] == "the GPU was held back in 1 measurements that count: it is too hot."
    assert "m.aten was measured although the GPU was held back: it is too hot" in caplog.text


def test_no_gpu_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # where there is one
    with pytest.raises(DeviceError, match=r"no CUDA device here, because .{10,}"):
        CudaDevice()
