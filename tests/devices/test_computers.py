"""Computers by name, here and behind ssh: what is refused, and what is told where something is missing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from connections import is_connected

from amc_hw.devices.base import NotConnectedError
from amc_hw.devices.computers.machines import SshMachine
from amc_hw.devices.computers.onnx import OnnxDevice
from amc_hw.devices.registry import found_devices, open_device
from amc_hw.errors import AmcHwError, DeviceError, UsageError


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("onx", "did you mean 'onnx'"),
        ("onnx:thread=2", "known: threads, batch_size, provider"),
        ("onnx:threads=two", "whole number"),
        ("onnx:batch_size=0", "whole number"),
        ("onnx:provider=", "no value"),
        ("host:batch_size=2", "known: threads "),
        ("cuda:dtype=fp31", "did you mean 'fp32'"),
        (
            "cuda:dtype=fp16",
            r"of fp32 \(fp32 or tf32\); leave it out: .* precision=fp16 is computed in fp16",
        ),
        ("ssh:board:cuda:dtype=bf16,l2=cold", "a file of precision=bf16 is computed in bf16"),
        ("cuda:threads=2", "known: batch_size, mode, dtype, layout, l2"),
        ("ssh:board", "ssh:user@host:onnx"),
        ("ssh::onnx", "ssh:user@host:onnx"),
        ("ssh:board:onx", "did you mean 'onnx'"),
        ("ssh:-oProxyCommand=x:onnx", "is no machine"),
    ],
)
def test_wrong_names_are_refused_before_anything_starts(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_device(name)


def test_devices_are_listed() -> None:
    assert {"host", "onnx", "cuda"} <= {found.name for found in found_devices()}


def test_a_machine_that_does_not_answer_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMC_HW_SSH", "ssh -F none")
    assert not is_connected("ssh:nobody@127.0.0.1:1:onnx")
    with pytest.raises(NotConnectedError, match=r"nobody@127\.0\.0\.1 .*refused"):
        open_device("ssh:nobody@127.0.0.1:1:onnx")


def test_a_remote_python_without_the_runtime_is_told(ssh_server: str) -> None:
    with pytest.raises(DeviceError, match=r"on board: .*no/such/python"):
        open_device(f"ssh:{ssh_server}:onnx:python=/no/such/python")


def test_a_file_travels_once_and_leaves_with_the_session(ssh_server: str, tmp_path: Path) -> None:
    machine = SshMachine(ssh_server, python=sys.executable)
    pytest.importorskip("onnxruntime")
    profiler = machine.start("time_onnx.py", [])
    try:
        file = tmp_path / 'it\'s a "model" $HOME.onnx'
        file.write_bytes(bytes(range(256)) * 1000)
        there = machine.put(profiler, file)
        assert Path(there).read_bytes() == file.read_bytes()  # the other machine is this one
        before = Path(there).stat().st_mtime_ns
        assert machine.put(profiler, file) == there
        assert Path(there).stat().st_mtime_ns == before
    finally:
        profiler.close()
    for _ in range(100):
        if not Path(there).exists():
            break
        time.sleep(0.05)
    assert not Path(there).exists()


def test_what_onnx_cannot_do_is_told_in_a_sentence(small_files: dict[str, Path]) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(DeviceError, match=r"no provider 'tensorflow', only: .*cpu"):
        OnnxDevice(provider="tensorflow")
    with pytest.raises(UsageError, match="cores"):
        OnnxDevice(threads=10_000)
    device = OnnxDevice(batch_size=2)
    try:
        assert device.fingerprint().batch_size == 2
        with pytest.raises(AmcHwError, match="batch_size=1"):
            device.time_model(small_files["onnx"], warmup=0, runs=1)
    finally:
        device.close()
