"""The proof: exported files timed on the device, 3 x (100 warm-up + 200 runs), side by side, every sample kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amc_hw.devices.base import Device
from amc_hw.errors import UsageError
from amc_hw.run_folder import write_json

Progress = Callable[[int, int, str], None]

FORMAT = 1
UNSTABLE_SPREAD = 0.03
"""Repeats whose means spread more than this share of their median are called unstable."""


@dataclass(frozen=True)
class Protocol:
    """How often each file runs: ``repeats`` times, ``warmup + runs`` iterations each."""

    warmup: int = 100
    runs: int = 200
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.runs < 1 or self.repeats < 1:
            raise UsageError("a benchmark needs at least one run and one repeat, and no negative warm-up.")


@dataclass(frozen=True)
class Timing:
    """One file's samples in microseconds, one list for each repeat."""

    name: str
    file: str
    repeats: tuple[tuple[float, ...], ...]

    @property
    def means_ms(self) -> list[float]:
        """Mean of each repeat in milliseconds."""
        return [float(np.mean(samples)) / 1e3 for samples in self.repeats]

    @property
    def latency_ms(self) -> float:
        """Median over the repeats of each repeat's mean, in milliseconds."""
        return float(np.median(self.means_ms))

    @property
    def spread(self) -> float:
        """Distance between the slowest and the fastest repeat, as a share of the latency."""
        return (max(self.means_ms) - min(self.means_ms)) / self.latency_ms

    @property
    def unstable(self) -> bool:
        """Whether the repeats disagree too much to be trusted."""
        return self.spread > UNSTABLE_SPREAD

    def document(self) -> dict[str, Any]:
        """Return what benchmark.json keeps."""
        return {
            "name": self.name,
            "file": self.file,
            "latency_ms": self.latency_ms,
            "spread": self.spread,
            "unstable": self.unstable,
            "repeats": [{"samples_us": list(samples)} for samples in self.repeats],
        }


def benchmark(
    device: Device, files: Mapping[str, Path], protocol: Protocol, progress: Progress
) -> dict[str, Timing]:
    """Time files in turns (first, second, first, second ...), so that a drift of the machine hits all alike.

    A set of repeats that disagrees is measured once more, and the steadier set is kept.

    Args:
        device: where to measure.
        files: name -> exported file.
        protocol: how often.
        progress: called with (done, total, text).

    Raises:
        UsageError: a file does not exist.
        DeviceError: a measurement failed.
    """
    for file in files.values():
        if not file.is_file():
            raise UsageError(f"{file} does not exist.")
    timings = _rounds(device, files, protocol, progress)
    if any(timing.unstable for timing in timings.values()):
        again = _rounds(device, files, protocol, progress)
        if max(timing.spread for timing in again.values()) < max(timing.spread for timing in timings.values()):
            timings = again
    return timings


def _rounds(
    device: Device, files: Mapping[str, Path], protocol: Protocol, progress: Progress
) -> dict[str, Timing]:
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in files}
    total = protocol.repeats * len(files)
    for repeat in range(protocol.repeats):
        for name, file in files.items():
            progress(sum(map(len, samples.values())), total, f"{name}, repeat {repeat + 1} of {protocol.repeats}")
            samples[name].append(tuple(device.time_model(file, warmup=protocol.warmup, runs=protocol.runs)))
    progress(total, total, "timed")
    return {name: Timing(name, files[name].name, tuple(repeats)) for name, repeats in samples.items()}


def write_benchmark(path: Path, device: Device, protocol: Protocol, timings: Mapping[str, Timing]) -> None:
    """Write every sample to ``path`` as JSON; raise RunFolderError where the disk refuses."""
    write_json(
        path,
        {
            "format": FORMAT,
            "device": device.fingerprint().model_dump(),
            "protocol": {"warmup": protocol.warmup, "runs": protocol.runs, "repeats": protocol.repeats},
            "models": [timing.document() for timing in timings.values()],
        },
    )
