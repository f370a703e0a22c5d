"""How benchmark_model is found and called."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from amc_hw.devices.android import benchmark_model
from amc_hw.devices.android.benchmark_model import find_binary, named_binary, run_command, tflite_flags
from amc_hw.errors import DeviceError, UsageError


def command(delegate: str = "xnnpack", **changes: object) -> str:
    usual = {"warmup": 100, "runs": 200, "threads": 1, "mask": 0xC, "timeout_s": 1800.0}
    flags = tflite_flags(delegate)
    return run_command("/d/bin", "/d/it's.tflite", flags, **{**usual, **changes})  # type: ignore[arg-type]


def test_asks_for_exactly_the_runs() -> None:
    words = shlex.split(command().removesuffix("; exit $?"))
    assert words[:6] == ["timeout", "-k", "5", "1800", "taskset", "c"]
    assert {"--warmup_runs=100", "--warmup_min_secs=0", "--num_runs=200", "--min_secs=0"} < set(words)
    assert "--graph=/d/it's.tflite" in words
    assert "--use_xnnpack=true" in words


def test_delegates() -> None:
    assert "--use_gpu=true" in command(delegate="gpu")
    assert "taskset" not in command(mask=None)
    with pytest.raises(UsageError, match="unknown delegate"):
        command(delegate="tpu")


def test_what_is_named_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "benchmark_model"
    file.write_bytes(b"x")
    monkeypatch.setenv(benchmark_model.VARIABLE, str(file))
    assert named_binary("arm64-v8a", None) == file
    with pytest.raises(UsageError, match="does not exist"):
        named_binary("arm64-v8a", tmp_path / "other")


def test_downloads_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = tmp_path / "android_aarch64_benchmark_model"
    monkeypatch.setattr(benchmark_model, "URL", tmp_path.as_uri() + "/{file}")
    with pytest.raises(DeviceError, match=r"cannot download .* AMC_HW_BENCHMARK_MODEL=FILE"):
        find_binary("arm64-v8a")
    official.write_bytes(b"<html>")
    with pytest.raises(DeviceError, match="is no program"):
        find_binary("arm64-v8a")
    official.write_bytes(b"\x7fELF\2\1\1".ljust(18, b"\0") + b"\xb7\0")
    kept = find_binary("arm64-v8a")
    official.unlink()
    assert find_binary("arm64-v8a") == kept
    with pytest.raises(DeviceError, match="no official benchmark_model for x86_64"):
        find_binary("x86_64")
