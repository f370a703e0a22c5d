"""The loopback phone as others' adb clients see it: Debian's adb, adb-shell and adbutils."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from loopback_phone import LoopbackPhone, connected, wait_until

ODD_PATH = '/data/local/tmp/new folder/it\'s $(id) "here".bin'


def test_debians_adb_runs_pushes_and_pulls(adb: Any, phone: Any, tmp_path: Path) -> None:
    serial = connected(adb, phone)
    assert "model:Loopback_Phone" in adb("devices", "-l").stdout
    done = adb("-s", serial, "shell", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert adb("-s", serial, "shell", "cat", text="from the host").stdout == "from the host"
    assert adb("-s", serial, "shell", "kill -9 $$").returncode == 128 + 9
    assert adb("-s", serial, "exec-out", "echo one; echo two >&2").stdout == "one\ntwo\n"
    sent, back = tmp_path / "sent.bin", tmp_path / "back.bin"
    sent.write_bytes(os.urandom(1_500_001))
    assert adb("-s", serial, "push", str(sent), ODD_PATH).returncode == 0
    assert (phone.folder / ODD_PATH[1:]).read_bytes() == sent.read_bytes()
    assert adb("-s", serial, "pull", ODD_PATH, str(back)).returncode == 0
    assert back.read_bytes() == sent.read_bytes()
    assert "No such file" in adb("-s", serial, "pull", "/data/none", str(back)).stdout
    assert "Read-only file system" in adb("-s", serial, "push", str(sent), "/system/bin/x").stdout
    assert adb("-s", serial, "reboot").returncode != 0
    assert phone.processes() == []


def test_adb_shell_with_both_shell_protocols(phone: Any, tmp_path: Path) -> None:
    adb_device = pytest.importorskip("adb_shell.adb_device")
    keygen = pytest.importorskip("adb_shell.auth.keygen")
    signer = pytest.importorskip("adb_shell.auth.sign_pythonrsa")
    keygen.keygen(str(tmp_path / "key"))
    keys = [signer.PythonRSASigner.FromRSAKeyPath(str(tmp_path / "key"))]
    device = adb_device.AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=20)
    assert device.connect(rsa_keys=keys, auth_timeout_s=10)
    assert device.shell("echo out; echo err >&2; exit 7") == "out\nerr\n"
    framed = device._service(b"shell,v2,raw", b"echo out; echo err >&2; exit 7", decode=False)
    assert b"".join(sorted([framed[:9], framed[9:18]])) == b"\1\4\0\0\0out\n\2\4\0\0\0err\n"
    assert framed[18:] == b"\3\1\0\0\0\7"
    (tmp_path / "sent").write_bytes(os.urandom(200_003))
    device.push(str(tmp_path / "sent"), ODD_PATH)
    device.pull(ODD_PATH, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()
    assert device.stat(ODD_PATH)[1] == 200_003
    assert [entry.filename for entry in device.list("/data/local")] == [b"tmp"]
    device.close()
    known = adb_device.AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=20)
    phone.ask(authorise="ignore")  # no longer asked: the key is known
    assert known.connect(rsa_keys=keys, auth_timeout_s=10)
    known.close()


def test_adbutils_through_debians_server(adb: Any, phone: Any, tmp_path: Path) -> None:
    adbutils = pytest.importorskip("adbutils")
    serial = connected(adb, phone)
    device = adbutils.AdbClient(host="127.0.0.1", port=adb.port).device(serial)
    done = device.shell2("echo out; echo err >&2; exit 7", v2=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    (tmp_path / "sent").write_bytes(os.urandom(300_000))
    device.sync.push(str(tmp_path / "sent"), ODD_PATH)
    device.sync.pull(ODD_PATH, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()
    assert device.prop.get("ro.product.model") == "Loopback Phone"


def test_an_authorisation_that_nobody_gives(adb: Any, phone: Any, tmp_path: Path) -> None:
    phone.ask(authorise="ignore")
    adb("connect", phone.serial)
    wait_until(lambda: f"{phone.serial}\tunauthorized" in adb("devices").stdout)
    assert "unauthorized" in adb("-s", phone.serial, "shell", "id").stderr
    adb_device = pytest.importorskip("adb_shell.adb_device")
    exceptions = pytest.importorskip("adb_shell.exceptions")
    device = adb_device.AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=5)
    with pytest.raises(exceptions.DeviceAuthError):
        device.connect(rsa_keys=[], auth_timeout_s=1)


def test_the_cable_breaks_during_a_push(adb: Any, phone: Any, tmp_path: Path) -> None:
    serial = connected(adb, phone)
    (tmp_path / "big").write_bytes(os.urandom(3_000_000))
    phone.cut_cable("sync:", after=1_000_000, away=0.5)
    assert adb("-s", serial, "push", str(tmp_path / "big"), "/data/local/tmp/big").returncode != 0
    wait_until(lambda: not (phone.folder / "data/local/tmp/big").exists())
    connected(adb, phone)  # the fault happens once
    assert adb("-s", serial, "push", str(tmp_path / "big"), "/data/local/tmp/big").returncode == 0


def test_the_cable_breaks_during_a_command_which_may_live_on(adb: Any, phone: Any) -> None:
    serial = connected(adb, phone)
    phone.cut_cable("shell", seconds=0.5)
    done = adb("-s", serial, "shell", "sleep 77 & echo begun; sleep 55; echo done")
    assert done.stdout == "begun\n"
    # Only the shell is hung up on, as on Android: what it started goes on until somebody looks for it.
    wait_until(lambda: not any(line.startswith("sh ") for line in phone.processes()))
    assert "sleep 77" in phone.processes()
    connected(adb, phone)
    adb("-s", serial, "shell", "pkill sleep")
    wait_until(lambda: phone.processes() == [])


def test_a_full_disk(adb: Any, phone_is_possible: None, tmp_path: Path) -> None:
    with LoopbackPhone(tmp_path / "phone", data_bytes=1 << 20) as phone:
        serial = connected(adb, phone)
        (tmp_path / "big").write_bytes(bytes(2 << 20))
        done = adb("-s", serial, "push", str(tmp_path / "big"), "/data/local/tmp/big")
        assert done.returncode != 0
        assert "No space left on device" in done.stdout
        assert phone.run("ls /data/local/tmp") == ""
        done = adb("-s", serial, "shell", "yes >/data/local/tmp/log")
        assert done.returncode != 0


def test_it_looks_like_a_phone(phone: Any) -> None:
    assert phone.run("id").startswith("uid=2000(shell)")
    assert phone.run("getprop ro.product.model; getprop none") == "Loopback Phone\n\n"
    settings = "settings get system none; settings put system none '1 2'; settings get system none"
    assert phone.run(settings) == "null\n1 2\n"
    phone.run("svc power stayon true; input keyevent KEYCODE_SLEEP")
    power = phone.run("dumpsys power")
    assert "mStayOnWhilePluggedInSetting=7" in power
    assert "Display Power: state=OFF" in power
    assert "temperature: 270" in phone.run("dumpsys battery")
    assert "Thermal Status: 0" in phone.run("dumpsys thermalservice")
    phone.heat(3, 47.5)
    assert "Thermal Status: 3" in phone.run("dumpsys thermalservice")
    assert "mValue=47.5" in phone.run("dumpsys thermalservice")
    capped = phone.run("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq").split()
    assert set(capped) == {"796800"}
    phone.refuse("battery")
    assert phone.run("dumpsys battery").startswith("Permission Denial")
    # No right over the machine's files, and none of its tools.
    assert phone.run("echo x 2>&1 >/sys/x; ls /home 2>&1; which python3 awk").count("\n") == 2


def test_stopping_the_phone_stops_what_runs_on_it(phone: Any) -> None:
    seconds = 900_000 + os.getpid()
    phone.run(f"setsid sleep {seconds} >/dev/null 2>&1 &")
    assert any(f"sleep {seconds}" in line for line in phone.processes())
    phone.__exit__()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert str(seconds).encode() not in file.read_bytes()
