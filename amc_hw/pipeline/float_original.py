"""What shares of a budget are of, where another precision ships than fp32: the original in fp32, timed beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from amc_hw.budget.budget import Budget
from amc_hw.budget.network_costs import NetworkCosts
from amc_hw.devices.base import Device
from amc_hw.errors import UsageError
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.pipeline.verify import QUICK, export_original
from amc_hw.profiling.benchmark import benchmark
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import OriginalTimes


def with_float_original(
    run: RunFolder,
    trained: TrainedModel,
    device: Device,
    costs: NetworkCosts,
    budgets: Sequence[Budget],
    progress: Progress,
) -> NetworkCosts:
    """Return costs that know what the original costs in fp32.

    Its latency is the predicted one of the shipped precision, times what the device says of the two; that is kept in
    the run folder, so that a search which goes on sees the same.

    Raises:
        UsageError: the device is not in reach, and a latency budget is a share.
    """
    if device.precision == "fp32":
        return costs
    export_original(run, trained, device, progress)
    of_float = {"size_bytes": float(run.original(device.format).stat().st_size)}
    if device.in_reach:
        times = run.original_times.find() or _measured(run, device, progress)
        latency = costs.latency_ms(trained.network.original)
        of_float["latency_ms"] = latency * times.float_ms / times.shipped_ms
        return replace(costs, of_float=of_float)
    if any(budget.metric == "latency_ms" and budget.ratio is not None for budget in budgets):
        raise UsageError(
            f"'{device.name}' is not in reach, so what the original takes in fp32 is not known there; give the latency "
            "budget in milliseconds."
        )
    return replace(costs, of_float={**of_float, "latency_ms": math.inf})  # not known, and more than any budget


def _measured(run: RunFolder, device: Device, progress: Progress) -> OriginalTimes:
    files = {"float": run.original(device.format), "shipped": run.original(device.format, device.precision)}
    timings = benchmark(device, files, QUICK, progress)
    times = OriginalTimes(float_ms=timings["float"].latency_ms, shipped_ms=timings["shipped"].latency_ms)
    run.original_times.write(times)
    return times
