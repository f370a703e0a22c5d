"""What goes wrong with phones: nothing hangs, nothing stays behind, every message has a cure."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from loopback_phone import LoopbackPhone, wait_until

from amc_hw.devices.android.adb import ConnectionLostError
from amc_hw.devices.android.benchmark_log import BenchmarkLogError
from amc_hw.devices.android.benchmark_model import BenchmarkKilledError
from amc_hw.devices.base import BusyError, NotConnectedError
from amc_hw.errors import DeviceError, UsageError

FOLDER = "data/local/tmp/amc-hw"
STAY_ON = "settings get global stay_on_while_plugged_in"


def time_it(device: Any, file: Path) -> list[float]:
    return device.time_model(file, warmup=100, runs=200)  # type: ignore[no-any-return]


def left_as_found(phone: Any) -> bool:
    return phone.processes() == [] and phone.run(STAY_ON) == "0\n" and not (phone.folder / FOLDER / "models").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file to push; the shell benchmarks do not look into it."""
    file = tmp_path / "model.tflite"
    file.write_bytes(os.urandom(300_000))
    return file


@pytest.mark.parametrize("answer", ["ignore", "close"])
def test_authorisation_refused(phone: Any, open_android: Any, answer: str) -> None:
    phone.ask(authorise=answer)
    with pytest.raises(NotConnectedError, match="did not allow this computer; unlock it, confirm"):
        open_android(phone)


def test_nobody_answers(phone: Any, open_android: Any) -> None:
    phone.port = 1
    with pytest.raises(NotConnectedError, match="does not answer"):
        open_android(phone)


def test_connection_lost_during_a_push(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("LOG"))
    time_it(device, model)
    model.write_bytes(os.urandom(900_000))
    phone.cut_cable("sync:", after=400_000, away=0.3)
    assert time_it(device, model) == [5.25]
    device.close()
    wait_until(lambda: left_as_found(phone))


def test_connection_lost_during_a_run(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("sleep 1; LOG"))
    device.fingerprint()
    phone.cut_cable("shell", seconds=0.7, away=0.2)
    assert time_it(device, model) == [5.25]
    assert device.traffic.starts == 2
    device.close()
    wait_until(lambda: left_as_found(phone))


def test_connection_lost_for_good(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("HANG"), reconnect_s=0.5)
    device.fingerprint()
    phone.cut_cable("shell", seconds=0.7, away=6.0)
    start = time.monotonic()
    with pytest.raises(ConnectionLostError, match=r"did not come back within 0.5 s .*run the same command again"):
        time_it(device, model)
    assert time.monotonic() - start < 5
    wait_until(lambda: left_as_found(phone))


def test_killed_once(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    first = fake_benchmark("[ -f /data/again ] || { echo >/data/again; kill -9 $$; }; LOG")
    assert time_it(open_android(phone, first), model) == [5.25]


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("kill -9 $$", BenchmarkKilledError, "was killed on the phone .signal 9."),
        ("echo 'S0me $(garbage)'; head -c 3000 /dev/urandom", BenchmarkLogError, "0 statistics lines"),
        ("count=50; LOG", BenchmarkLogError, "only 50 of 200 regular runs"),
        ("echo 'ERROR: Benchmarking failed.' >&2; exit 1", BenchmarkLogError, "the benchmark failed"),
        ("echo 'not executable: 64-bit ELF file' >&2; exit 126", DeviceError, "give one for its architecture"),
        ("echo 'WARN: GPU acceleration is unsupported on this platform.'; LOG", BenchmarkLogError, "ran without GPU"),
        ("echo 'WARN: Unconsumed cmdline flags: --graph=x'; LOG", BenchmarkLogError, "does not know the flags"),
    ],
)
def test_bad_benchmarks(
    phone: Any, open_android: Any, fake_benchmark: Any, model: Path, script: str, error: type, message: str
) -> None:
    device = open_android(phone, fake_benchmark(script))
    with pytest.raises(error, match=message):
        time_it(device, model)
    device.close()
    wait_until(lambda: left_as_found(phone))


def test_benchmark_of_another_architecture(phone: Any, open_android: Any, tmp_path: Path, model: Path) -> None:
    binary = tmp_path / "arm"
    binary.write_bytes(b"\x7fELF\2\1\1".ljust(18, b"\0") + b"\xb7\0" + bytes(100))
    with pytest.raises(DeviceError, match="needs a benchmark_model for x86_64"):
        time_it(open_android(phone, binary), model)


def test_two_programs_on_one_phone(phone: Any, open_android: Any, fake_benchmark: Any) -> None:
    open_android(phone, fake_benchmark("LOG"))
    with pytest.raises(BusyError, match="another amc-hw is measuring on the phone LOOPBACK1; wait") as busy:
        open_android(phone, fake_benchmark("LOG"))
    assert busy.value.here


def test_a_binary_that_does_not_start(phone: Any, open_android: Any, tmp_path: Path, model: Path) -> None:
    binary = tmp_path / "broken"
    binary.write_bytes(b"\x7fELF\2\1\1".ljust(18, b"\0") + b"\x3e\0" + bytes(100))
    with pytest.raises(DeviceError, match="cannot run this benchmark_model"):
        time_it(open_android(phone, binary), model)


def test_missing_benchmark(phone: Any, open_android: Any, fake_benchmark: Any, tmp_path: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        time_it(open_android(phone, tmp_path / "none"), model)


def test_benchmark_that_disappears(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("LOG"))
    time_it(device, model)
    phone.run(f"rm /{FOLDER}/benchmark_model*")
    with pytest.raises(DeviceError, match="cannot run this benchmark_model"):
        time_it(device, model)


def test_phone_full(phone_is_possible: None, tmp_path: Path, open_android: Any, fake_benchmark: Any) -> None:
    big = tmp_path / "big.tflite"
    big.write_bytes(bytes(2 << 20))
    with LoopbackPhone(tmp_path / "phone", data_bytes=1 << 20) as phone:
        device = open_android(phone, fake_benchmark("LOG"))
        with pytest.raises(DeviceError, match=r"is full: big.tflite needs 2.1 MB .* amc-hw devices --clean"):
            time_it(device, big)
        assert "part" not in phone.run(f"ls -R /{FOLDER}")


def test_hot_phone_is_waited_for(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            phone.heat(0, 30.0)

    device = open_android(phone, fake_benchmark("LOG"), sleep=sleep)
    phone.heat(3, 47.0)
    assert time_it(device, model) == [5.25]
    assert len(waits) == 3


def test_hot_phone_is_given_up(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("LOG"), cool_s=0.3)
    phone.heat(3, 47.0)
    with pytest.raises(DeviceError, match=r"not become ready within 0.3 s: its thermal status is 3; let it cool"):
        time_it(device, model)
    assert device.traffic.starts == 0


def test_phone_that_gets_hot_every_time(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(
        phone, fake_benchmark("echo 2 >/mnt/loopback/thermal/status; LOG"), sleep=lambda _: phone.heat(0, 30.0)
    )
    with pytest.raises(DeviceError, match=r"too hot in 3 measurements .*thermal status is 2"):
        time_it(device, model)
    assert device.traffic.starts == 3


def test_a_cap_on_the_big_cores(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("LOG"), cool_s=0.1)
    phone.heat(3, 30.0)
    phone.set_state("thermal/status", "0")
    with pytest.raises(DeviceError, match=r"core \d+ is held at 0.80 of 2.15 GHz"):
        time_it(device, model)


def test_what_the_phone_refuses_to_tell_is_recorded(
    phone: Any, open_android: Any, fake_benchmark: Any, model: Path
) -> None:
    for service in ("battery", "thermalservice", "settings"):
        phone.refuse(service)
    device = open_android(phone, fake_benchmark("LOG"))
    assert time_it(device, model) == [5.25]
    assert device.notes() == [
        "the phone does not tell its thermal status",
        "the phone does not tell the temperature of its battery",
    ]


def test_a_silent_benchmark_is_not_taken_for_dead(
    phone: Any, open_android: Any, fake_benchmark: Any, model: Path
) -> None:
    from amc_hw.devices.android.adb import Waits

    assert Waits().run_s > 600
    device = open_android(phone, fake_benchmark("sleep 3; LOG"), command_s=1.0, stall_s=1.0, connect_s=1.0)
    assert time_it(device, model) == [5.25]


def test_a_benchmark_that_never_ends(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("HANG"), run_s=1.0)
    start = time.monotonic()
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        time_it(device, model)
    assert time.monotonic() - start < 10
    device.close()
    wait_until(lambda: left_as_found(phone))


def test_interrupted(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("HANG"))
    device.fingerprint()
    assert phone.run(STAY_ON) == "7\n"
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    with pytest.raises(KeyboardInterrupt):
        time_it(device, model)
    device.close()
    wait_until(lambda: left_as_found(phone))


def test_leftovers_of_a_crash_are_ended_and_nothing_else(
    phone: Any, open_android: Any, fake_benchmark: Any, model: Path
) -> None:
    phone.run(f"mkdir -p /{FOLDER}; echo 3 >/{FOLDER}/stay_on.saved; mkfifo /data/hang")
    phone.run(f"echo 'read -r _ <>/data/hang' >/{FOLDER}/left")
    phone.run(f"setsid sh /{FOLDER}/left >/dev/null 2>&1 &")
    phone.run("setsid sleep 77 >/dev/null 2>&1 &")
    wait_until(lambda: any("left" in line for line in phone.processes()))
    device = open_android(phone, fake_benchmark("LOG"))
    time_it(device, model)
    assert not any("left" in line for line in phone.processes())
    device.close()
    wait_until(lambda: not any("amc-hw" in line for line in phone.processes()))
    wait_until(lambda: phone.run(STAY_ON) == "3\n")  # as it was before the crash
    assert any("sleep 77" in line for line in phone.processes())


def test_a_sleeping_phone_goes_back_to_sleep(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    phone.run("input keyevent KEYCODE_SLEEP; settings delete global stay_on_while_plugged_in")
    device = open_android(phone, fake_benchmark("LOG"))
    time_it(device, model)
    assert phone.run("cat /mnt/loopback/wakefulness") == "Awake\n"
    device.close()
    wait_until(lambda: phone.run("cat /mnt/loopback/wakefulness") == "Asleep\n")
    assert phone.run(STAY_ON) == "null\n"


@pytest.mark.parametrize("name", ["with space.tflite", 'it\'s "quoted".tflite', "$(touch HERE) `id` ;x.tflite"])
def test_odd_file_names(
    phone: Any, open_android: Any, fake_benchmark: Any, tmp_path: Path, model: Path, name: str
) -> None:
    odd = tmp_path / name
    model.rename(odd)
    assert time_it(open_android(phone, fake_benchmark("LOG")), odd) == [5.25]
    assert "HERE" not in phone.run("ls / /data /data/local/tmp")


def test_the_folder_can_be_removed(phone: Any, open_android: Any, fake_benchmark: Any, model: Path) -> None:
    device = open_android(phone, fake_benchmark("LOG"))
    time_it(device, model)
    assert phone.run("ls /data/local/tmp") == "amc-hw\n"
    device.clean()
    assert phone.run("ls /data/local/tmp") == ""
    assert phone.run(STAY_ON) == "0\n"
