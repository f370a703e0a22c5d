"""What every device must do, whatever it is; a new device is one more line in `DEVICES`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended_gpu import PretendedGpu
from small_nets import TinyResidual, learned
from strict_skips import NEEDS_GPU

from amc_hw.devices.base import Device
from amc_hw.devices.computers.names import KINDS
from amc_hw.devices.computers.onnx import OnnxDevice
from amc_hw.errors import AmcHwError, DeviceError
from amc_hw.formats.export import export
from amc_hw.formats.registry import FORMATS
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.policy import Precision
from amc_hw.profiling.deployed import template_for
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.transfer import FITTED, HELD_OUT, Known, transfer_table
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel


def host(request: pytest.FixtureRequest) -> Device:
    pytest.importorskip("ai_edge_litert")
    from amc_hw.devices.registry import open_device

    return open_device("host")


def onnx(request: pytest.FixtureRequest) -> Device:
    pytest.importorskip("onnxruntime")
    from amc_hw.devices.registry import open_device

    return open_device("onnx")


def executorch(request: pytest.FixtureRequest) -> Device:
    pytest.importorskip("executorch")
    from amc_hw.devices.registry import open_device

    return open_device("executorch")


def cuda(request: pytest.FixtureRequest) -> Device:
    from amc_hw.devices.computers.cuda import CudaDevice

    try:
        return CudaDevice()
    except DeviceError as error:
        pytest.skip(f"{NEEDS_GPU}: {error}")


def made_up_cuda(request: pytest.FixtureRequest) -> Device:
    from amc_hw.devices.computers.cuda import CudaDevice

    return CudaDevice(machine=PretendedGpu())


def ssh_onnx(request: pytest.FixtureRequest) -> Device:
    from amc_hw.devices.registry import open_device

    pytest.importorskip("onnxruntime")
    server = request.getfixturevalue("ssh_server")
    return open_device(f"ssh:{server}:onnx:python={sys.executable}")


def ssh_host(request: pytest.FixtureRequest) -> Device:
    from amc_hw.devices.registry import open_device

    pytest.importorskip("ai_edge_litert")
    return open_device(f"ssh:{request.getfixturevalue('ssh_server')}:host:python={sys.executable}")


def loopback_phone(request: pytest.FixtureRequest) -> Device:
    phone = request.getfixturevalue("phone")
    device: Device = request.getfixturevalue("open_android")(phone)
    return device


def host_without_operators(request: pytest.FixtureRequest) -> Device:
    device = host(request)
    device.operator_times = False
    return device


def onnx_openvino(request: pytest.FixtureRequest) -> Device:
    runtime = pytest.importorskip("onnxruntime")
    if "OpenVINOExecutionProvider" not in runtime.get_available_providers():
        with pytest.raises(DeviceError, match=r"no provider 'openvino'.*pip install onnxruntime-openvino"):
            OnnxDevice(provider="openvino")
        return onnx(request)
    return OnnxDevice(provider="openvino", name="onnx:provider=openvino")


DEVICES: dict[str, Callable[[pytest.FixtureRequest], Device]] = {
    "host": host,
    "onnx": onnx,
    "executorch": executorch,
    "cuda": cuda,
    "cuda with times that are made up": made_up_cuda,
    "onnx on OpenVINO, where it is there": onnx_openvino,
    "host without operators' times": host_without_operators,
    "loopback phone": loopback_phone,
    "onnx behind ssh": ssh_onnx,
    "host behind ssh": ssh_host,
}


PRECISIONS = {name: kind.precisions for name, kind in KINDS.items()}
"""Of this machine's devices; others run what their format is written in."""


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    opened = DEVICES[request.param](request)
    yield opened
    opened.close()


def test_device(device: Any, small_files: dict[str, Path], tmp_path: Path) -> None:
    """One test, because starting a device is what takes the time."""
    small_model = small_files[device.format]
    fingerprint = device.fingerprint()
    assert isinstance(fingerprint, Fingerprint)
    assert fingerprint == device.fingerprint()
    assert all(str(value) for value in fingerprint.model_dump().values())
    assert device.name

    times = device.time_model(small_model, warmup=3, runs=20)
    statistics = getattr(times, "statistics", {})
    # Every run, or their mean alone with how many they were.
    assert len(times) == 20 or (len(times) == 1 and statistics["count"] == 20)
    assert all(0 < time < 1e6 for time in times)

    if device.operator_times:
        kernels = device.time_kernels(small_model, warmup=2, runs=8)
        graph = FORMATS[device.format].read(small_model.read_bytes())
        owners = graph.owners([kernel.name for kernel in kernels])
        assert set(owners) == {0, 1}
        assert len({len(kernel.samples_us) for kernel in kernels}) == 1
        assert all(sample >= 0 for kernel in kernels for sample in kernel.samples_us)
        assert 0 < sum(kernel.median_us for kernel in kernels) < 3 * np.mean(times) + 100
    else:
        with pytest.raises(DeviceError, match="whole network"):
            device.time_kernels(small_model, warmup=2, runs=8)

    broken = tmp_path / f"broken.{device.format}"
    broken.write_bytes(b"\0" * 8 + small_model.read_bytes()[8:200])
    with pytest.raises(AmcHwError) as failure:
        device.time_model(broken, warmup=1, runs=1)
    assert len(str(failure.value)) > 20
    assert str(broken) in str(failure.value)
    assert "amc-hw export" in str(failure.value) or "export the network again" in str(failure.value)
    assert "\n" not in str(failure.value)
    again = device.time_model(small_model, warmup=1, runs=5)  # one failure does not end the session
    assert again

    device.close()
    device.close()  # twice does no harm


def written(precision: Precision, format_name: str, shared: Path) -> Path:
    """Return a small network's file, which the first device that wants it has written."""
    file = shared / f"conformance-{precision}.{format_name}"
    if not file.exists():
        images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        own = file.with_name(f"{os.getpid()}-{file.name}")
        export(learned(TinyResidual()), images[:1], own, precision, images)
        own.replace(file)
    return file


def test_device_in_every_precision(device: Any, shared: Path) -> None:
    """Files of every precision that its format has, where the device has it, and kernels that fit their operators."""
    pytest.importorskip("litert_torch")
    dtypes = []
    for precision in PRECISIONS.get(device.name.partition(":")[0], FORMATS[device.format].precisions):
        file = written(precision, device.format, shared)
        device.precision = precision
        dtypes.append(device.fingerprint().dtype)
        times = device.time_model(file, warmup=1, runs=5)
        assert all(0 < time < 1e6 for time in times)
        if not device.operator_times:
            continue
        kernels = device.time_kernels(file, warmup=1, runs=4)
        graph = FORMATS[device.format].read(file.read_bytes())
        owners = graph.owners([kernel.name for kernel in kernels])
        filters = {index for index, operator in enumerate(graph.operators()) if operator.fan_in}
        assert None not in owners
        assert filters <= set(owners)
    assert len(set(dtypes)) == len(dtypes)


BY_THEMSELVES = [name for name in DEVICES if not name.endswith("behind ssh")]
"""Those behind ssh are timed as the same devices here are."""


@pytest.mark.parametrize("device", BY_THEMSELVES, indirect=True)
def test_table_of_a_device_that_is_alike(device: Any, traced: TracedModel, tmp_path: Path) -> None:
    """Twelve networks make a table of another one's; here both are one device, so that it fits, as noise allows."""
    few = {"networks": 6, "calibration": 4, "visits": 2, "totals": 30, "total_visits": 2}
    device.effort = replace(device.effort, **few)
    template, kept, new = template_for(device, traced), tmp_path / "kept.json", tmp_path / "new.json"
    other = measure_table(device, traced, template, kept, 0, SILENT).model_copy(deep=True)
    assert (other.totals is None) == device.operator_times
    other.fingerprint = other.fingerprint.model_copy(update={"device": "its relative"})

    table = transfer_table(device, traced, template, Known(other, kept), new, 0, SILENT)

    assert table == load_table(new)
    assert table.fingerprint == device.fingerprint()
    assert table.transfer is not None
    assert table.transfer.fingerprint == other.fingerprint
    (error,) = table.errors.values()
    assert (table.transfer.networks, error.networks) == (FITTED, HELD_OUT)
    operators = template.operators(traced.network.original)
    measured_ms = next(network.measured_ms for network in table.calibration if network.original)
    assert 0.3 < Predictor(table).network_ms(operators) / measured_ms < 3
    assert (table.totals is None) == device.operator_times
