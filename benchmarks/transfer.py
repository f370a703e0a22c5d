"""How well a table that was carried over from another device predicts: the curve of networks against error.

The first device is profiled in full. For each number of networks its table is carried over to the second one and held
against random pruned networks that it has not seen, the same ones each time, as `amc-hw table check` does it; the last
row is a full profile of the second device. "held out %" is what the table says of itself. The machine should be quiet.

usage: python benchmarks/transfer.py [--known host] [--device host:threads=2] [--models NAME ...] [--fitted 2 4 6 8 12]
                                     [--networks 30] [--seed 1000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from amc_hw.devices.registry import open_device
from amc_hw.latency.read_table import load_table
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.profiling import transfer
from amc_hw.profiling.check import check_table
from amc_hw.profiling.profile import profile, profile_like
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel, trace_model

MODELS = ("resnet20", "mobilenet_v2")
COLUMNS = (
    *("model", "measured networks", "table s", "held out %", "mean %", "worst %", "bias %", "drift %"),
    *("mean at table's speed %", "worst at table's speed %", "rank", "of halves"),
)
WHOLE = 0
"""Stands for a full profile."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--known", default="host")
    parser.add_argument("--device", default="host:threads=2")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--fitted", type=int, nargs="+", default=[2, 4, 6, 8, 12])
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)
    for name in options.models:
        size = default_image_size(name)
        traced = replace(trace_model(build_model(name, 10 if size == 32 else 1000), (3, size, size)), name=name)
        with tempfile.TemporaryDirectory() as folder, open_device(options.known) as known:
            there = Path(folder) / "known.json"
            profile(known, traced, there, options.seed, SILENT)
            for fitted in (*options.fitted, WHOLE):
                path = Path(folder) / f"{fitted}.json"
                row = measure(options.device, traced, there, path, (fitted, options.networks, options.seed))
                print("| " + " | ".join([name, *row]) + " |", flush=True)


def measure(
    device_name: str, traced: TracedModel, there: Path, path: Path, numbers: tuple[int, int, int]
) -> Sequence[str]:
    """Make a table, with ``numbers`` of networks to carry it over by and to check it with, and a seed."""
    fitted, networks, seed = numbers
    with open_device(device_name) as device:
        start = time.monotonic()
        if fitted == WHOLE:
            profile(device, traced, path, seed, SILENT)
            measured = f"all ({device.effort.networks + device.effort.calibration})"
        else:
            transfer.FITTED = fitted
            profile_like(device, traced, str(there), path, seed, SILENT)
            measured = f"{fitted} + {transfer.HELD_OUT}"
        elapsed = time.monotonic() - start
        checked = check_table(device, traced, path, networks, seed, SILENT)
    error, steady = next(iter(load_table(path).errors.values())).mean, checked.at_speed_of_table() or checked
    return [
        measured,
        f"{elapsed:.0f}",
        *(f"{100 * each:.1f}" for each in (error, checked.mean_error, checked.worst_error)),
        *(f"{100 * each:+.1f}" for each in (checked.bias, checked.drift or 0.0)),
        *(f"{100 * each:.1f}" for each in (steady.mean_error, steady.worst_error)),
        *(f"{each or 0.0:.3f}" for each in (checked.rank_correlation, checked.repeatability)),
    ]


if __name__ == "__main__":
    main()
