"""Cuts the cable of the loopback phone: the work goes on when it is back, or says how to go on."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

from simulated_cli import TESTS

sys.path.insert(0, str(TESTS / "loopback"))

from loopback_phone import LoopbackPhone, wait_until

from amc_hw.devices.android.adb import ConnectionLostError, Waits
from amc_hw.devices.android.connect import connect
from amc_hw.devices.android.devices_file import PhoneSettings
from amc_hw.devices.android.phone import AndroidDevice
from amc_hw.errors import DeviceError

PATIENCE_S = 2.0
"""How long the computer waits for the phone here; half of the cables stay away for longer."""


def lose(phone: LoopbackPhone, network: bytes, folder: Path, random: Random) -> dict[str, Any] | None:
    """Lose the connection once at a random moment of a measurement; None where it ended before that moment."""
    waits = Waits(authorise_s=5.0, reconnect_s=PATIENCE_S, run_s=60.0)
    settings = PhoneSettings(address=("127.0.0.1", phone.port), benchmark_model=phone.benchmark_model)
    file = folder / "network.tflite"
    file.write_bytes(network + random.randbytes(400_000))  # content that the phone does not have yet
    away = random.choice([0.1, 0.5, PATIENCE_S + 3])
    where: dict[str, Any] = random.choice(
        [{"service": "sync:", "after": random.randrange(1, 400_000)}, {"service": "shell", "seconds": random.random()}]
    )
    adb, lost, told = connect(settings, waits), list[int](), ""
    reconnect = adb.reconnect
    adb.reconnect = lambda: (lost.append(1), reconnect())
    device = AndroidDevice("loopback", adb, settings, waits)
    try:
        device.fingerprint()
        phone.cut_cable(**where, away=away)
        try:
            times = device.time_model(file, warmup=5, runs=20)
        except ConnectionLostError as error:
            told = str(error)
        phone.ask(drop={})
    finally:
        device.close()
    if not lost:
        return None
    if told:
        wait_until(lambda: answers(settings, waits), 30)
        again = AndroidDevice("loopback", connect(settings, waits), settings, waits)
        try:
            times = again.time_model(file, warmup=5, runs=20)
        finally:
            again.close()
    wait_until(lambda: phone.processes() == [], 30)
    why = "" if times and min(times) > 0 else f"times of {times} us"
    if told and "run the same command again" not in told:
        why = f"no cure in: {told}"
    if (phone.folder / "data/local/tmp/amc-hw/models").exists():
        why = "files are left"
    return {"file": str(where), "outcome": "fault" if why else "error" if told else "right", "why": why}


def answers(settings: PhoneSettings, waits: Waits) -> bool:
    try:
        connect(settings, waits).close()
    except DeviceError:
        return False
    return True
