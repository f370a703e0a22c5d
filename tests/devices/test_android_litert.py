"""LiteRT's benchmark_model on the loopback phone: processor, GPU and NPU, whole, in part and not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amc_hw.devices.android.connect import connect
from amc_hw.devices.android.devices_file import PhoneSettings
from amc_hw.devices.android.phone import AndroidDevice
from amc_hw.devices.base import CpuFallbackError

RUNS = {"warmup": 3, "runs": 10}


@pytest.fixture
def open_litert(phone: Any, open_android: Any, tmp_path: Path) -> Any:
    """Open the phone with LiteRT's binary and a delegate; an NPU gets its libraries."""
    usual = open_android(phone, phone.litert_benchmark_model)
    libraries = tmp_path / "npu"
    libraries.mkdir()
    for name in ("libLiteRtDispatch_Qualcomm.so", "libLiteRtCompilerPlugin_Qualcomm.so", "libQnnHtp.so"):
        (libraries / name).write_bytes(b"no ELF file")
    usual.close()
    opened: list[AndroidDevice] = []

    def open_with(delegate: str, **settings: Any) -> AndroidDevice:
        wanted = PhoneSettings(
            address=("127.0.0.1", phone.port), benchmark_model=phone.litert_benchmark_model, npu_libraries=libraries
        )
        wanted = replace(wanted, delegate=delegate, **settings)
        waits = replace(usual._waits, run_s=60.0)
        opened.append(AndroidDevice(f"android:{phone.serial}", connect(wanted, waits), wanted, waits))
        return opened[-1]

    yield open_with
    for device in opened:
        device.close()


def test_operators_are_timed_on_the_processor(open_litert: Any, small_model: Path) -> None:
    device = open_litert("xnnpack", runtime="2.2.0")
    assert device.operator_times
    kernels = device.time_kernels(small_model, **RUNS)
    assert [kernel.name.split(" (")[0] for kernel in kernels] == ["Convolution", "Mean"]
    times = device.time_model(small_model, **RUNS)
    assert times.statistics["count"] == 10
    print_ = device.fingerprint()
    assert print_.runtime == "litert benchmark_model"
    assert print_.runtime_version.startswith("2.2.0 sha256:")


def test_an_accelerator_runs_a_network_whole_and_it_is_noted(phone: Any, open_litert: Any, small_model: Path) -> None:
    for name in ("gpu", "npu"):
        phone.set_accelerator(name, "")
        device = open_litert(name)
        assert not device.operator_times
        times = device.time_model(small_model, **RUNS)
        assert times.statistics["count"] == 10
        assert f"the {name} ran all 2 operators" in device.notes()
        assert device.fingerprint().delegate == name
        device.close()
    assert " npu:" in device.fingerprint().runtime_version


def test_a_part_on_the_processor_is_an_error_that_names_it(phone: Any, open_litert: Any, small_model: Path) -> None:
    for name in ("gpu", "npu"):
        phone.set_accelerator(name, "MEAN")
        device = open_litert(name)
        with pytest.raises(CpuFallbackError, match=rf"{name} took 1 of 2 operators .* processor: MEAN \(mean\)"):
            device.time_model(small_model, **RUNS)
        device.close()


def test_a_missing_accelerator_is_an_error_with_its_cause(open_litert: Any, small_model: Path) -> None:
    for name, cause in (("gpu", "GPU accelerator could not be loaded"), ("npu", '"libQnnHtp.so" not found')):
        device = open_litert(name)
        with pytest.raises(CpuFallbackError, match=rf"{cause}.*CONV_2D \(conv\), MEAN \(mean\)"):
            device.time_model(small_model, **RUNS)
        device.close()
