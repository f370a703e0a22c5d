"""How well a table that is learned from whole networks alone predicts others: the curve of networks against error.

The device's operator times are hidden from the table. Networks are timed once; for each number of them a table is
learned of the first so many, and held against random pruned networks that it has not seen, as `amc-hw table check` does
it. "left out %" is what the table says of itself. The machine should be quiet.

usage: python benchmarks/totals.py [--device onnx:provider=openvino] [--models NAME ...] [--totals 30 60 90 120 150]
                                   [--networks 30] [--seed 1000]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from amc_hw.devices.registry import open_device
from amc_hw.latency.learned import learn_table
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.latency.share import Totals
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.profiling import totals
from amc_hw.profiling.check import TableCheck, check_table
from amc_hw.profiling.deployed import template_for
from amc_hw.profiling.latency_cost import latency_cost
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel, trace_model

MODELS = ("mobilenet_v2", "torchvision:resnet18", "torchvision:mobilenet_v3_small")
COLUMNS = (
    *("model", "networks", "left out %", "mean %", "worst %"),
    *("mean at table's speed %", "worst at table's speed %", "bias %", "drift %", "rank", "of halves"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="host")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--totals", type=int, nargs="+", default=[30, 60, 90, 120, 150])
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    totals.ENOUGH = 0.0  # the largest table has as many networks as asked for
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)
    for name in options.models:
        size = default_image_size(name)
        traced = replace(trace_model(build_model(name, 10 if size == 32 else 1000), (3, size, size)), name=name)
        for row in curve(options.device, traced, sorted(options.totals), options.networks, options.seed):
            print(f"| {name} | " + " | ".join(row) + " |", flush=True)


def curve(
    device_name: str, traced: TracedModel, counts: Sequence[int], networks: int, seed: int
) -> Iterator[list[str]]:
    """Yield a row for every number of networks: the first so many of those that were timed."""
    device = open_device(device_name)
    device.operator_times = False
    device.effort = replace(device.effort, totals=counts[-1])
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.json"
            checked = check_table(device, traced, path, networks, seed, SILENT)
            table = load_table(path)
        template = template_for(device, traced)
    finally:
        device.close()
    whole = table.totals
    assert whole is not None
    for count in counts:
        learn_table(table, Totals(families=whole.families, networks=whole.networks[:count]))
        cost = latency_cost(template, Predictor(table), traced.choices)
        found = [replace(network, predicted_ms=cost(network.channels)) for network in checked.networks]
        yield [
            str(count),
            f"{100 * next(iter(table.errors.values())).mean:.1f}",
            *row_of(replace(checked, networks=tuple(found))),
        ]


def row_of(checked: TableCheck) -> list[str]:
    steady = checked.at_speed_of_table() or checked
    errors = [checked.mean_error, checked.worst_error, steady.mean_error, steady.worst_error]
    signed = [checked.bias, checked.drift or 0.0]
    ranks = [checked.rank_correlation or 0.0, checked.repeatability or 0.0]
    return [
        *(f"{100 * error:.1f}" for error in errors),
        *(f"{100 * error:+.1f}" for error in signed),
        *(f"{rank:.3f}" for rank in ranks),
    ]


if __name__ == "__main__":
    main()
