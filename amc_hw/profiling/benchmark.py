"""The proof: exported files timed on the device, 3 x (100 warm-up + 200 runs), side by side, every sample kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from amc_hw.devices.base import Device, Times
from amc_hw.devices.turns import measuring
from amc_hw.profiling.model_files import require_files, require_format
from amc_hw.profiling.protocol import Protocol
from amc_hw.profiling.timing import Timing
from amc_hw.runs.files import write_text
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import Benchmark

MOST_REPEATS = 60
PATIENCE_S = 30.0
"""Repeats and seconds after which a device that never gets steady is measured no more: every sample is kept."""
VERDICT_PATIENCE_S = 120.0
"""The same for what must be decided: a wrong verdict can cost a whole fine-tuning."""


def benchmark(
    device: Device,
    files: Mapping[str, Path],
    protocol: Protocol,
    progress: Progress,
    is_decided: Callable[[Mapping[str, Timing]], bool] = lambda _: True,
) -> dict[str, Timing]:
    """Time files in turns (first, second, first, second ...), so that a drift of the machine hits all alike.

    Where the repeats disagree, as many follow again, until the latencies are known to `amc_hw.profiling.timing.STEADY`:
    a busy device takes more of them, and all count. They stop at `MOST_REPEATS`, and after the second set at
    `PATIENCE_S`; while something is undecided, at `VERDICT_PATIENCE_S`.

    Args:
        device: where to measure.
        files: name -> exported file.
        protocol: how often.
        progress: is told how far the work is.
        is_decided: tells whether the timings say what is asked of them.

    Raises:
        UsageError: a file does not exist, or is of a format that the device does not run.
        DeviceError: a measurement failed.
    """
    require_files(files.values())
    for file in files.values():
        require_format(file, device.format, device.name)
    samples: dict[str, list[Sequence[float]]] = {name: [] for name in files}
    with measuring(device):
        started = time.monotonic()
        while True:
            _repeat(device, files, protocol, samples, progress)
            repeats = len(next(iter(samples.values())))
            timings = {name: Timing(name, files[name].name, tuple(each)) for name, each in samples.items()}
            known = is_decided(timings)
            patience = PATIENCE_S if known else VERDICT_PATIENCE_S
            late = repeats > protocol.repeats and time.monotonic() - started > patience
            full = repeats + protocol.repeats > MOST_REPEATS
            if late or full or (known and not any(timing.unstable for timing in timings.values())):
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
            progress("benchmark", done, last * len(files), f"repeat {repeat + 1} of {last}, {name}")
            samples[name].append(device.time_model(file, warmup=protocol.warmup, runs=protocol.runs))
    progress("benchmark", last * len(files), last * len(files), f"{last} repeats")


def benchmark_record(device: Device, protocol: Protocol, timings: Mapping[str, Timing]) -> Benchmark:
    """Return what is kept of a benchmark: every sample, and what it was measured on."""
    return Benchmark(
        device=device.fingerprint().model_dump(),
        protocol=asdict(protocol),
        models=[timing.record() for timing in timings.values()],
    )


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
