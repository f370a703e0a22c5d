"""How well latency tables predict networks that they were not made from: builds each table, then checks it.

Every table is built from nothing; then 30 random channel choices are predicted, written as TFLite, measured
(median over interleaved visits of each visit's mean) and compared. "drift %" is how much longer the original takes
then than when the table was made; "mean" and "worst at table's speed" are the errors with that divided out. "of
halves" is the rank correlation of one half of the visits with the other: what the measurements' own noise leaves to
any prediction. The machine should be quiet.

usage: python benchmarks/latency_prediction.py [--threads 1 2] [--models NAME ...] [--networks 30] [--seed 1000]
                                               [--precision fp32] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from amc_hw.devices.computers.host import HostDevice
from amc_hw.latency.read_table import load_table
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.policy import DTYPES, Precision
from amc_hw.profiling.check import check_table
from amc_hw.profiling.profile import profile
from amc_hw.runs.progress import SILENT, Progress, Update
from amc_hw.tracing.traced import trace_model

MODELS = (
    "mobilenet_v1",
    "mobilenet_v2",
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:mobilenet_v3_small",
    "resnet20",
    "resnet56",
)
COLUMNS = (
    "model",
    "threads",
    "precision",
    "mean %",
    "worst %",
    "bias %",
    "drift %",
    "mean at table's speed %",
    "worst at table's speed %",
    "rank",
    "of halves",
    "table s",
    "of it converting s",
    "entries",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)
    for threads in options.threads:
        for name in options.models:
            row = measure(name, threads, options.precision, options.networks, options.seed)
            print("| " + " | ".join(map(str, row.values())) + " |", flush=True)
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def measure(name: str, threads: int, precision: Precision, networks: int, seed: int) -> dict[str, object]:
    size = default_image_size(name)
    trained = replace(trace_model(build_model(name, 10 if size == 32 else 1000), (3, size, size)), name=name)
    device = HostDevice(threads)
    device.precision = precision
    try:
        with tempfile.TemporaryDirectory() as folder:
            path, converting = Path(folder) / "table.json", [0.0]
            started = time.perf_counter()

            def watch(update: Update) -> None:
                if update.stage.startswith("measuring") and not converting[0]:
                    converting[0] = time.perf_counter() - started

            profile(device, trained, path, 0, Progress(watch))
            seconds = time.perf_counter() - started
            entries = len(load_table(path).entries)
            checked = check_table(device, trained, path, networks, seed, SILENT)
    finally:
        device.close()
    steady = checked.at_speed_of_table()
    assert steady is not None  # the table was calibrated with this very network
    return {
        "model": name,
        "threads": threads,
        "precision": precision,
        "mean": f"{checked.mean_error:.1%}".rstrip("%"),
        "worst": f"{checked.worst_error:.1%}".rstrip("%"),
        "bias": f"{checked.bias:+.1%}".rstrip("%"),
        "drift": f"{checked.drift:+.1%}".rstrip("%"),
        "steady_mean": f"{steady.mean_error:.1%}".rstrip("%"),
        "steady_worst": f"{steady.worst_error:.1%}".rstrip("%"),
        "rank": f"{checked.rank_correlation or 0:.3f}",
        "halves": f"{checked.repeatability or 0:.3f}",
        "table_s": f"{seconds:.0f}",
        "converting_s": f"{converting[0]:.0f}",
        "entries": entries,
    }


if __name__ == "__main__":
    sys.exit(main())
