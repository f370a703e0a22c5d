"""What phones tell of themselves, and what they do not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amc_hw.devices.android.phone_state import PhoneState, big_cores, read_state

TOLD = """\
maximum_khz 0 1593600
cap_khz 0 1593600
current_khz 0 300000
maximum_khz 2 2150400
cap_khz 2 1200000
load 1.50 1.2 1.1 2/345 678
service thermalservice
Thermal Status: 0
Current temperatures from HAL:
\tTemperature{mValue=35.0, mType=0, mName=CPU0, mStatus=0}
service battery
  level: 80
  temperature: 270
  technology: Li-ion
service end
"""


def test_everything_told() -> None:
    state = read_state(TOLD)
    assert state == PhoneState(
        maximum_khz={0: 1593600, 2: 2150400},
        cap_khz={0: 1593600, 2: 1200000},
        thermal_status=0,
        battery_c=27.0,
        battery_level=80,
        load_average=1.5,
    )
    assert state.trouble([0]) == ""
    assert state.trouble([0, 2]) == "core 2 is held at 1.20 of 2.15 GHz"


def test_hot() -> None:
    assert "thermal status is 1" in read_state(TOLD.replace("Status: 0\n", "Status: 1\n")).trouble([])
    assert "battery has 45 C" in read_state(TOLD.replace("temperature: 270", "temperature: 450")).trouble([])


def test_nothing_told() -> None:
    refused = "maximum_khz 0 refused\nload refused\nservice battery\nPermission Denial: can't dump battery\n"
    state = read_state(refused)
    assert len(state.refused) == 4
    assert state.trouble([0, 1]) == ""


@given(st.text())
def test_never_fails(text: str) -> None:
    read_state(text).trouble(range(8))


def test_big_cores() -> None:
    pixel1 = {0: 1593600, 1: 1593600, 2: 2150400, 3: 2150400}
    assert big_cores(pixel1, 1) == (2, 3)
    assert big_cores(pixel1, 4) == (0, 1, 2, 3)
    one_prime = {0: 1800000, 1: 1800000, 2: 2400000, 3: 2400000, 4: 2800000}
    assert big_cores(one_prime, 1) == (4,)
    assert big_cores(one_prime, 2) == (2, 3, 4)
    assert big_cores({}, 2) == ()
