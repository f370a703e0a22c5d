"""How an NVIDIA GPU is at the moment, as its profiler program tells it from nvidia-smi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HELD_BACK = {
    0x8: "its hardware slowed it down",
    0x20: "it is too hot",
    0x40: "it is much too hot",
    0x80: "its power supply braked it",
}
"""Bits of NVML's reasons for a lower clock that a measurement waits for (nvmlClocksEventReasons)."""
POWER_CAP = 0x4
"""The bit of a clock that is lower because the GPU takes as much power as it may: waiting changes nothing."""


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment; None is what it does not tell.

    Attributes:
        clock_mhz: of its multiprocessors.
        clock_max_mhz: the highest that they can have.
        temperature_c: in degrees Celsius.
        power_w: what it takes, in watts.
        power_state: from 0, the fastest, to 15.
        reasons: why its clock is lower than it could be, one bit for each; see `HELD_BACK`.
    """

    clock_mhz: float | None = None
    clock_max_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_state: float | None = None
    reasons: float | None = None

    @classmethod
    def of(cls, answer: Mapping[str, float]) -> GpuState:
        """Read what the profiler program answers."""
        return cls(**{name: answer.get(name) for name in cls.__dataclass_fields__})

    def trouble(self) -> str:
        """Say why a measurement would not be worth much now, or ""."""
        return ", ".join(words for bit, words in HELD_BACK.items() if int(self.reasons or 0) & bit)

    @property
    def capped(self) -> bool:
        """Whether it takes as much power as it may."""
        return bool(int(self.reasons or 0) & POWER_CAP)


def summary(states: Sequence[GpuState]) -> list[str]:
    """Return what is worth a word of a GPU while it measured, a sentence each."""
    clocks = [state.clock_mhz for state in states if state.clock_mhz is not None]
    if not clocks:
        return ["the GPU's clock and temperature are not known: nvidia-smi tells neither."]
    most, hottest = (
        max(state.clock_max_mhz or 0 for state in states),
        max(state.temperature_c or 0 for state in states),
    )
    sentence = f"the GPU ran at {min(clocks):.0f} to {max(clocks):.0f} of {most:.0f} MHz, at {hottest:.0f} C at most"
    if power := [state.power_w for state in states if state.power_w is not None]:
        sentence += f", with {max(power):.0f} W at most"
    if levels := sorted({int(state.power_state) for state in states if state.power_state is not None}):
        sentence += f", in power state {' and '.join(f'P{level}' for level in levels)}"
    capped = sum(state.capped for state in states)
    return [
        f"{sentence}.",
        *([f"the GPU was at its power limit in {capped} of {len(states)} looks."] if capped else []),
    ]
