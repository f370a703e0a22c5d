"""What decides how fast a phone is at the moment, read from what device_scripts/state.sh prints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

CAPPED = 0.95
"""A core whose allowed frequency is under this share of its highest is capped: too hot, or on a weak charger."""

HOT_BATTERY_C = 42.0
NO_THROTTLING = 0
"""The thermal status of Android 10 and later: 0 none, 1 light, 2 moderate, 3 severe ..."""

_STATUS = re.compile(r"^\s*Thermal Status:\s*(\d+)", re.MULTILINE)
_BATTERY = re.compile(r"^\s*temperature:\s*(-?\d+)\s*$", re.MULTILINE)
_LEVEL = re.compile(r"^\s*level:\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class PhoneState:
    """A phone at one moment; None or missing is what it does not tell.

    Attributes:
        maximum_khz: core -> its highest frequency.
        cap_khz: core -> the highest frequency it may have now.
        thermal_status: see `NO_THROTTLING`.
        battery_c: temperature of the battery in degrees Celsius.
        battery_level: in percent.
        load_average: processes that wanted to run in the last minute, on average.
        refused: what the phone does not tell.
    """

    maximum_khz: dict[int, int] = field(default_factory=dict)
    cap_khz: dict[int, int] = field(default_factory=dict)
    thermal_status: int | None = None
    battery_c: float | None = None
    battery_level: int | None = None
    load_average: float | None = None
    refused: tuple[str, ...] = ()

    def trouble(self, cores: Iterable[int]) -> str:
        """Say why a measurement on these cores would not be worth much now, or ""."""
        if self.thermal_status is not None and self.thermal_status > NO_THROTTLING:
            return f"its thermal status is {self.thermal_status}"
        if self.battery_c is not None and self.battery_c > HOT_BATTERY_C:
            return f"its battery has {self.battery_c:.0f} C"
        for core in cores:
            cap, maximum = self.cap_khz.get(core), self.maximum_khz.get(core)
            if cap is not None and maximum is not None and cap < CAPPED * maximum:
                return f"core {core} is held at {cap / 1e6:.2f} of {maximum / 1e6:.2f} GHz"
        return ""


def read_state(text: str) -> PhoneState:
    """Read what state.sh printed; everything in it may be missing."""
    head, services = _parts(text)
    numbers: dict[str, dict[int, int]] = {"maximum_khz": {}, "cap_khz": {}, "current_khz": {}}
    load_average = None
    for line in head:
        name, *values = line.split()
        if name in numbers and len(values) == 2 and all(value.isdecimal() for value in values):
            numbers[name][int(values[0])] = int(values[1])
        elif name == "load" and values and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", values[0]):
            load_average = float(values[0])
    thermal, battery = services.get("thermalservice", ""), services.get("battery", "")
    status, tenths, level = _STATUS.search(thermal), _BATTERY.search(battery), _LEVEL.search(battery)
    answers = {
        "the frequencies of its cores": numbers["maximum_khz"],
        "the caps of its cores": numbers["cap_khz"],
        "its thermal status": status,
        "the temperature of its battery": tenths,
    }
    return PhoneState(
        maximum_khz=numbers["maximum_khz"],
        cap_khz=numbers["cap_khz"],
        thermal_status=int(status[1]) if status else None,
        battery_c=int(tenths[1]) / 10 if tenths else None,
        battery_level=int(level[1]) if level else None,
        load_average=load_average,
        refused=tuple(name for name, value in answers.items() if not value),
    )


def _parts(text: str) -> tuple[list[str], dict[str, str]]:
    """Split into the lines before the services, and the words of each service."""
    head: list[str] = []
    services: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("service "):
            current = line.removeprefix("service ").strip()
        elif current:
            services[current] = f"{services.get(current, '')}{line}\n"
        elif line.strip():
            head.append(line)
    return head, services


def big_cores(maximum_khz: dict[int, int], threads: int) -> tuple[int, ...]:
    """Return the fastest cores: all of the fastest kind, and of the next kinds until there is one for each thread.

    Empty where the phone does not tell its frequencies.
    """
    cores: list[int] = []
    for khz in sorted(set(maximum_khz.values()), reverse=True):
        if len(cores) < threads or not cores:
            cores += [core for core, maximum in maximum_khz.items() if maximum == khz]
    return tuple(sorted(cores))
