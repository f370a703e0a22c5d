"""Phones behind an adb server (Debian's own): chosen by serial, listed with their state, lost and found again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from commands import amc_hw
from connections import is_connected
from loopback_phone import LoopbackPhone, connected, wait_until

from amc_hw.devices.android.adb import Waits
from amc_hw.devices.base import NotConnectedError
from amc_hw.devices.registry import found_devices, open_device
from amc_hw.errors import UsageError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "it's a $(model).tflite"
    file.write_bytes(os.urandom(300_000))
    return file


def test_measures_through_the_server(
    at_the_server: Any, phone: Any, fake_benchmark: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(at_the_server, phone)
    monkeypatch.setenv("AMC_HW_BENCHMARK_MODEL", str(fake_benchmark("LOG")))
    device = open_device("android")  # the only one
    try:
        assert device.time_model(model, warmup=100, runs=200) == [5.25]
        assert device.fingerprint().device == "amc-hw tests Loopback Phone"
    finally:
        device.close()
    wait_until(lambda: phone.processes() == [])
    assert phone.run("settings get global stay_on_while_plugged_in") == "0\n"


@pytest.mark.parametrize(("service", "amount"), [("sync:", {"after": 200_000}), ("shell", {"seconds": 0.6})])
def test_comes_back_after_a_lost_cable(
    at_the_server: Any,
    phone: Any,
    fake_benchmark: Any,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    amount: dict[str, Any],
) -> None:
    connected(at_the_server, phone)
    monkeypatch.setenv("AMC_HW_BENCHMARK_MODEL", str(fake_benchmark("sleep 1; LOG")))
    device = open_device("android")
    try:
        device.fingerprint()
        phone.cut_cable(service, **amount, away=0.2)
        assert device.time_model(model, warmup=100, runs=200) == [5.25]
    finally:
        device.close()
    wait_until(lambda: phone.processes() == [])


def test_two_phones_and_none_named(at_the_server: Any, phone: Any, tmp_path: Path) -> None:
    with LoopbackPhone(tmp_path / "second") as second:
        connected(at_the_server, phone)
        connected(at_the_server, second)
        with pytest.raises(UsageError, match=r"several phones are connected: .* and .*name one: device=android:") as e:
            open_device("android")
        assert phone.serial in str(e.value)
        assert second.serial in str(e.value)
        assert amc_hw("benchmark", __file__, "--device", "android") == 2


def test_unknown_serial(at_the_server: Any, phone: Any) -> None:
    connected(at_the_server, phone)
    with pytest.raises(NotConnectedError, match="has no phone FA6AB0; plug it in"):
        open_device("android:FA6AB0")
    assert not is_connected("android:FA6AB0")


def test_another_phone_than_named(at_the_server: Any, phone: Any) -> None:
    connected(at_the_server, phone)
    with pytest.raises(NotConnectedError, match=r"no such phone \(sailfish or marlin\) is connected; connected: 127"):
        open_device("pixel1")
    assert not is_connected("pixel1:threads=2")


def test_a_known_phone_is_found_by_its_kind(at_the_server: Any, phone_is_possible: None, tmp_path: Path) -> None:
    with LoopbackPhone(tmp_path / "pixel", properties={"ro.product.device": "sailfish"}) as pixel:
        connected(at_the_server, pixel)
        assert is_connected("pixel1")
        assert not is_connected("pixel2")


def test_the_list_tells_state_and_cure(at_the_server: Any, phone: Any, tmp_path: Path) -> None:
    with LoopbackPhone(tmp_path / "shy") as shy:
        shy.ask(authorise="ignore")
        connected(at_the_server, phone)
        at_the_server("connect", shy.serial)
        wait_until(lambda: "unauthorized" in at_the_server("devices").stdout)
        found = {device.name: device for device in found_devices()}
    ready, waiting = found[f"android:{phone.serial}"], found[f"android:{shy.serial}"]
    assert (ready.description, ready.missing) == ("amc-hw tests Loopback Phone, LB1, Android 10", "")
    assert "is unauthorized; unlock it and confirm 'Allow USB debugging'" in waiting.missing


def test_a_phone_of_the_devices_file_that_is_attached_is_listed_once(
    at_the_server: Any, phone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "devices.toml"
    monkeypatch.setenv("AMC_HW_DEVICES", str(file))
    connected(at_the_server, phone)
    for way in (f'serial = "{phone.serial}"', f'address = "{phone.serial}"'):
        file.write_text(f'[lab]\n{way}\nthreads = 2\ncores = "3"\n')
        phones = [device for device in found_devices() if device.kind == "android"]
        assert [(device.name, device.missing) for device in phones] == [("lab", "")]
    assert amc_hw("devices", "--json") == 0
    told = next(each for each in json.loads(capsys.readouterr().out) if each["name"] == "lab")
    assert told["kind"] == "android"
    assert told["formats"] == ["tflite"]
    assert (told["threads"], told["cores"], told["in_reach"]) == (2, [0, 1], True)


def test_a_phone_on_a_cable_that_is_named_by_its_address_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for its own serial it says the same both ways."""
    from amc_hw.devices.android import names
    from amc_hw.devices.android.adb_server import Attached
    from amc_hw.devices.android.devices_file import PhoneSettings

    own = {"desk": PhoneSettings(address=("192.168.1.5", 5555)), "away": PhoneSettings(serial="GONE")}
    attached = [Attached("FA6AB0", "device", "Pixel", "sailfish"), Attached("FA6AB1", "device", "Pixel", "sailfish")]
    real = {"desk": "FA6AB0", "android:FA6AB0": "FA6AB0", "android:FA6AB1": "FA6AB1", "away": ""}
    monkeypatch.setattr(names, "named_phones", lambda: own)
    monkeypatch.setattr(names, "_attached", lambda waits: attached)
    monkeypatch.setattr(
        names, "_look", lambda name, model, settings, waits: names.Phone(name, model, "", real[name], settings)
    )
    assert [phone.name for phone in names.found_phones()] == ["desk", "away", "android:FA6AB1"]


def test_the_list_needs_no_adb() -> None:
    start = time.monotonic()
    found = found_devices()
    assert time.monotonic() - start < 3
    assert found[0].name == "host"
    assert any(device.name.startswith("android") and "adb start-server" in device.missing for device in found)
    assert not is_connected(f"android:127.0.0.1:{1}")


def test_cleaning(phone: Any, at_the_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.run("mkdir -p /data/local/tmp/amc-hw; echo 1 >/data/local/tmp/amc-hw/x; echo 1 >/data/local/tmp/y")
    assert amc_hw("devices", "--clean", f"android:{phone.serial}") == 0
    assert phone.run("ls /data/local/tmp") == "y\n"
    assert amc_hw("devices", "--clean", "host") == 2


def test_every_wait_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    for name, value in vars(Waits()).items():
        assert f"`{name}`" in text
        assert f"{value:g} s" in text
