"""The loop over adb, on the loopback phone of the tests: a table is measured, then predictions are held to the clock.

    python benchmarks/phone_loop.py [--model mobilenet_v1] [--image-size 224] [--networks 6] [--out FILE.json]

Prints what the profile cost the phone (starts of benchmark_model, pushes, bytes, seconds), and for networks that the
table has not seen the predicted and the measured latency (3 repeats of 100 + 200 runs). Exit status 1 if the worst
prediction is off by more than 5 %. Needs mksh and toybox; the times are those of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "loopback"))

from loopback_phone import LoopbackPhone, why_not

from amc_hw.devices.android.adb import Waits
from amc_hw.devices.android.connect import connect
from amc_hw.devices.android.devices_file import PhoneSettings, with_options
from amc_hw.devices.android.phone import AndroidDevice
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.template import lower
from amc_hw.latency.prediction import Predictor
from amc_hw.models.zoo import build_model
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.plan import corner_policies, draw_policy
from amc_hw.profiling.protocol import Protocol
from amc_hw.runs.progress import Progress, Update
from amc_hw.tracing.traced import trace_model

LARGEST_ERROR = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet_v1")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--networks", type=int, default=6)
    parser.add_argument("--cores", default="big", help="hexadecimal mask; by default the phone's big cores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        # A key, a cache and a table of its own.
        os.environ["HOME"] = os.environ["XDG_CACHE_HOME"] = folder
        with LoopbackPhone(Path(folder) / "phone") as phone:
            settings = PhoneSettings(address=("127.0.0.1", phone.port), benchmark_model=phone.benchmark_model)
            settings = with_options(settings, {"cores": options.cores}, "--cores")
            device = AndroidDevice("loopback", connect(settings, Waits()), settings, Waits())
            try:
                result = loop(device, options, Path(folder))
            finally:
                device.close()
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return int(result["worst_error"] > LARGEST_ERROR)


def loop(device: AndroidDevice, options: argparse.Namespace, folder: Path) -> dict[str, object]:
    size = options.image_size
    trained = replace(trace_model(build_model(options.model, 1000), (3, size, size)), name=options.model)
    template = lower(trained.model, trained.network, trained.example, FORMATS["tflite"])
    start = time.monotonic()
    table = measure_table(device, trained, template, folder / "table.json", options.seed, Progress(show))
    seconds = time.monotonic() - start
    traffic = device.traffic
    cost = {"starts": traffic.starts, "commands": traffic.commands, "pushes": traffic.pushes}
    cost |= {"pushed_mb": round(traffic.pushed_bytes / 1e6, 1), "seconds": round(seconds, 1)}
    random = np.random.default_rng(options.seed + 1000)
    policies = [corner_policies(trained.choices)[0]]
    policies += [draw_policy(trained.choices, random) for _ in range(options.networks - 1)]
    files = {}
    for index, policy in enumerate(policies):
        files[str(index)] = folder / f"network {index}.tflite"
        files[str(index)].write_bytes(template.file(policy, random))
    timings = benchmark(device, files, Protocol(), Progress(show))
    predictor, rows = Predictor(table), []
    for index, policy in enumerate(policies):
        predicted = predictor.network_ms(template.operators(policy))
        timing = timings[str(index)]
        row = {"predicted_ms": predicted, "measured_ms": timing.latency_ms, "spread": timing.spread}
        rows.append({**row, "error": predicted / timing.latency_ms - 1})
    return {
        "model": options.model,
        "image_size": size,
        "profile": cost,
        "networks": rows,
        "mean_error": float(np.mean([abs(row["error"]) for row in rows])),
        "worst_error": max(abs(row["error"]) for row in rows),
        "table": {"entries": len(table.entries), "notes": table.notes},
    }


def show(update: Update) -> None:
    print(f"\r{update.text} {update.done}/{update.total}   ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
