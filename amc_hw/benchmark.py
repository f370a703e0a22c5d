"""The proof: exported files timed on the device, 3 x (100 warm-up + 200 runs), side by side, every sample kept."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amc_hw.devices.base import Device, Times
from amc_hw.devices.turns import measuring
from amc_hw.errors import UsageError
from amc_hw.run_folder import write_json, write_text

Progress = Callable[[int, int, str], None]

FORMAT = 1
STEADY = 0.01
"""Share of a latency that may be in doubt after so many repeats as there are; beyond it, they are called unstable."""
MOST_REPEATS = 60
PATIENCE_S = 30.0
"""Repeats and seconds after which a device that never gets steady is measured no more: every sample is kept."""
MODEL_ENDINGS = frozenset({".tflite", ".onnx", ".aten", ".pt2", ".pt", ".pth"})


@dataclass(frozen=True)
class Protocol:
    """How often each file runs: ``repeats`` times or more, ``warmup + runs`` iterations each."""

    warmup: int = 100
    runs: int = 200
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.runs < 1 or self.repeats < 1:
            raise UsageError("a benchmark needs at least one run and one repeat, and no negative warm-up.")


@dataclass(frozen=True)
class Timing:
    """One file's samples in microseconds, one list for each repeat; `Times` where the device gives only their mean."""

    name: str
    file: str
    repeats: tuple[Sequence[float], ...]

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
    def doubt(self) -> float:
        """Standard error of the latency, as a share of it, from the quartiles of the repeats' means.

        Of a normal distribution they are 1.35 standard deviations apart, and the error of a median is 1.25 of them
        by the root of n. The quartiles of few values are too close together, by about n to n + 1.2. One repeat alone
        tells of no error: it is 0.
        """
        n = len(self.repeats)
        low, high = np.percentile(self.means_ms, (25, 75))
        return float(high - low) / (self.latency_ms * math.sqrt(n)) * (n + 1.2) / n

    @property
    def unstable(self) -> bool:
        """Whether the repeats disagree too much to be trusted."""
        return self.doubt > STEADY

    @property
    def p90_ms(self) -> float | None:
        """Ninetieth percentile of all runs in milliseconds; None where the device does not tell single runs."""
        if any(isinstance(repeat, Times) and repeat.statistics for repeat in self.repeats):
            return None
        return float(np.percentile([sample for repeat in self.repeats for sample in repeat], 90)) / 1e3

    def document(self) -> dict[str, Any]:
        """Return what benchmark.json keeps."""
        return {
            "name": self.name,
            "file": self.file,
            "latency_ms": self.latency_ms,
            "spread": self.spread,
            "doubt": self.doubt,
            "unstable": self.unstable,
            "repeats": [_repeat_document(repeat) for repeat in self.repeats],
        }


def _repeat_document(repeat: Sequence[float]) -> dict[str, Any]:
    statistics = repeat.statistics if isinstance(repeat, Times) else {}
    return {"samples_us": list(repeat), **({"statistics": statistics} if statistics else {})}


def benchmark(device: Device, files: Mapping[str, Path], protocol: Protocol, progress: Progress) -> dict[str, Timing]:
    """Time files in turns (first, second, first, second ...), so that a drift of the machine hits all alike.

    Where the repeats disagree, as many follow again, until their median is known to `STEADY`: a busy device takes more
    of them, and all count. They stop at `MOST_REPEATS`, and after the second set at `PATIENCE_S`.

    Args:
        device: where to measure.
        files: name -> exported file.
        protocol: how often.
        progress: called with (done, total, text).

    Raises:
        UsageError: a file does not exist, or is of a format that the device does not run.
        DeviceError: a measurement failed.
    """
    for file in files.values():
        if not file.is_file():
            raise UsageError(f"{file} does not exist.")
        if file.suffix in MODEL_ENDINGS - {f".{device.format}"}:
            raise UsageError(
                f"{file} is no .{device.format} file, which is what '{device.name}' runs; "
                f"make one with: amc-hw export --run RUN --format {device.format}"
            )
    samples: dict[str, list[Sequence[float]]] = {name: [] for name in files}
    with measuring(device):
        started = time.monotonic()
        while True:
            _repeat(device, files, protocol, samples, progress)
            repeats = len(next(iter(samples.values())))
            timings = {name: Timing(name, files[name].name, tuple(each)) for name, each in samples.items()}
            late = repeats > protocol.repeats and time.monotonic() - started > PATIENCE_S
            full = repeats + protocol.repeats > MOST_REPEATS
            if late or full or not any(timing.unstable for timing in timings.values()):
                return timings


def _repeat(
    device: Device,
    files: Mapping[str, Path],
    protocol: Protocol,
    samples: Mapping[str, list[Sequence[float]]],
    progress: Progress,
) -> None:
    """Add one set of repeats to the samples, of all files in turns."""
    first = len(next(iter(samples.values())))
    last = first + protocol.repeats
    for repeat in range(first, last):
        for name, file in files.items():
            done = sum(map(len, samples.values()))
            progress(done, last * len(files), f"{name}, repeat {repeat + 1} of {last}")
            samples[name].append(device.time_model(file, warmup=protocol.warmup, runs=protocol.runs))
    progress(last * len(files), last * len(files), "timed")


def write_benchmark(path: Path, device: Device, protocol: Protocol, timings: Mapping[str, Timing]) -> None:
    """Write every sample to ``path`` as JSON, and logs into the folder ``logs`` beside it.

    Raises:
        RunFolderError: the disk refuses.
    """
    write_json(
        path,
        {
            "format": FORMAT,
            "device": device.fingerprint().model_dump(),
            "protocol": {"warmup": protocol.warmup, "runs": protocol.runs, "repeats": protocol.repeats},
            "models": [timing.document() for timing in timings.values()],
        },
    )
    write_logs(path.parent / "logs", timings)


def write_logs(folder: Path, timings: Mapping[str, Timing]) -> list[Path]:
    """Write what the device's runtime said, one file for each repeat, and return the files.

    Devices whose runtime has no words of its own give none. Logs of an earlier benchmark of these names are removed.
    Raises RunFolderError where the disk refuses.
    """
    written = []
    for timing in timings.values():
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", timing.name.removesuffix(".tflite")).strip("_") or "model"
        for earlier in folder.glob(f"{stem}-*.log"):
            if earlier.stem.removeprefix(f"{stem}-").isdigit():
                earlier.unlink()
        for number, repeat in enumerate(timing.repeats, start=1):
            if isinstance(repeat, Times) and repeat.log:
                written.append(folder / f"{stem}-{number}.log")
                write_text(written[-1], repeat.log)
    return written
