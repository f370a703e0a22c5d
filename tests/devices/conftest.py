from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from computer_fixtures import small_files, ssh_server
from phone_fixtures import adb, phone, phone_is_possible, small_model

__all__ = ["adb", "phone", "phone_is_possible", "small_files", "small_model", "ssh_server"]


LOG = """\
echo "INFO: Use xnnpack: [1]"
echo "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate."
echo "INFO: Running benchmark for at least 100 iterations and at least 0 seconds but terminate if exceeding 9 seconds."
echo "INFO: count=100 first=9 curr=5 min=4 max=9 avg=5.5 std=1"
echo "INFO: Running benchmark for at least 200 iterations and at least 0 seconds but terminate if exceeding 9 seconds."
echo "INFO: count=${count-200} first=5 curr=5 min=4 max=6 avg=5.25 std=1"
echo "INFO: Inference timings in us: Init: 7, First inference: 9, Warmup (avg): 5.5, Inference (avg): 5.25"
"""
"""What benchmark_model prints after 100 + 200 runs, as shell."""

HANG = "mkfifo /data/hang; read -r _ <>/data/hang"
"""Waits for ever without a child process, as benchmark_model has none."""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, caches and the devices file of the test alone."""
    home = tmp_path / "own home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "ANDROID_USER_HOME", "AMC_HW_BENCHMARK_MODEL", "AMC_HW_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")  # nobody's


@pytest.fixture
def fake_benchmark(tmp_path: Path) -> Callable[[str], Path]:
    """Make a benchmark_model of a few lines of shell, in which LOG prints what the real one would and HANG hangs."""

    def make(script: str) -> Path:
        file = tmp_path / "fake benchmark_model"
        # toybox's `timeout` makes mistakes about programs that end at once.
        file.write_text(f"#!/system/bin/sh\nsleep 0.1\n{script.replace('LOG', LOG).replace('HANG', HANG)}\n")
        return file

    return make


@pytest.fixture
def open_android(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Open a loopback phone with a benchmark_model and short waits; everything is closed at the end."""
    pytest.importorskip("adb_shell")
    from amc_hw.devices.android.adb import Waits
    from amc_hw.devices.android.connect import connect
    from amc_hw.devices.android.devices_file import PhoneSettings
    from amc_hw.devices.android.phone import AndroidDevice

    with ExitStack() as stack:

        def open_phone(phone: Any, binary: Path | None = None, *, sleep: Any = None, **seconds: float) -> AndroidDevice:
            waits = Waits(**{"authorise_s": 1.0, "reconnect_s": 10.0, "run_s": 20.0, "cool_poll_s": 0.05, **seconds})
            settings = PhoneSettings(address=("127.0.0.1", phone.port), benchmark_model=binary or phone.benchmark_model)
            more = {"sleep": sleep} if sleep else {}
            device = AndroidDevice(f"android:{phone.serial}", connect(settings, waits), settings, waits, **more)
            stack.callback(device.close)
            return device

        yield open_phone


@pytest.fixture
def at_the_server(adb: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An adb server of the test's own, which amc-hw finds."""
    pytest.importorskip("adbutils")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb.port))
    assert os.environ["ANDROID_ADB_SERVER_PORT"] == str(adb.port)
    return adb
