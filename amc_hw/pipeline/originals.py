"""The original network as files: in fp32, of which shares of a budget are, and in the precision that ships."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from amc_hw.budget.budget import Budget
from amc_hw.budget.network_costs import NetworkCosts
from amc_hw.devices.base import Device
from amc_hw.errors import UsageError
from amc_hw.formats.export import quantize_file
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Metric, Precision
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.deployed import example_for, export_float
from amc_hw.profiling.protocol import HEADROOM, QUICK
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import OriginalTimes
from amc_hw.tracing.network import Network
from amc_hw.training.trial import tell

Costs = dict[Metric, float]
"""What a network costs, by the metrics that budgets are on."""


def export_original(
    run: RunFolder, trained: TrainedModel, device: Device, precision: Precision, progress: Progress
) -> Path:
    """Return the original's exported file in a precision; it is kept in the run folder.

    Raises:
        UnsupportedModelError: the network cannot be exported, or says nothing any more in the precision.
    """
    float_file, file = (run.original(device.format, each) for each in ("fp32", precision))
    if not float_file.exists():
        progress("exporting the original")
        export_float(device, trained, float_file)
    if not file.exists():
        progress(f"exporting the original in {precision}")
        example = example_for(device, trained)
        quantize_file(float_file, trained.model, example, file, precision, trained.calibration, trained.io)
    return file


def export_originals(run: RunFolder, trained: TrainedModel, device: Device, progress: Progress) -> None:
    """Keep the original's exported files in the run folder: in fp32, and in the precision that ships."""
    for precision in dict.fromkeys(("fp32", device.precision)):
        export_original(run, trained, device, precision, progress)


def original_costs(network: Network, latency_ms: float, file: Path) -> Costs:
    """Return what the original costs, in the precision of the file."""
    whole = network.original
    return {
        "macs": network.macs(whole),
        "params": network.params(whole),
        "latency_ms": latency_ms,
        "size_bytes": file.stat().st_size,
    }


def shares_used(budgets: Sequence[Budget], here: Costs, originals: Mapping[Precision, Costs]) -> Costs:
    """Return the share of every budget that a network uses.

    Args:
        budgets: of a run.
        here: what the network costs.
        originals: what the original costs in fp32 and in the precisions that budgets are shares in.
    """
    return {
        budget.metric: here[budget.metric] / budget.allowed(originals[budget.of][budget.metric]) for budget in budgets
    }


def are_kept(shares: Costs) -> bool:
    """Tell whether budgets are kept by the shares used of them; what is measured needs a little headroom."""
    return all(share <= (HEADROOM if metric == "latency_ms" else 1.0) for metric, share in shares.items())


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
    export_originals(run, trained, device, progress)
    of_float = {"size_bytes": float(run.original(device.format).stat().st_size)}
    if device.in_reach:
        times = original_times(run, trained, device, progress)
        latency = costs.latency_ms(trained.network.original)
        of_float["latency_ms"] = in_fp32(latency, times)
        return replace(costs, of_float=of_float)
    if any(budget.metric == "latency_ms" and budget.ratio is not None for budget in budgets):
        raise UsageError(
            f"'{device.name}' is not in reach, so what the original takes in fp32 is not known there; give the latency "
            "budget in milliseconds."
        )
    return replace(costs, of_float={**of_float, "latency_ms": math.inf})  # not known, and more than any budget


def in_fp32(shipped_ms: float, times: OriginalTimes) -> float:
    """Return the original's predicted latency in fp32, from that in the precision that ships."""
    return shipped_ms * times.float_ms / times.shipped_ms


def original_times(run: RunFolder, trained: TrainedModel, device: Device, progress: Progress) -> OriginalTimes:
    """Return what the original takes on the device; measured once, and kept in the run folder."""
    if (known := run.original_times.find()) is not None:
        return known
    export_originals(run, trained, device, progress)
    files = {"float": run.original(device.format), "shipped": run.original(device.format, device.precision)}
    timings = benchmark(device, files, QUICK, progress)
    times = OriginalTimes(float_ms=timings["float"].latency_ms, shipped_ms=timings["shipped"].latency_ms)
    run.original_times.write(times)
    if times.shipped_ms > times.float_ms:
        tell(
            "%s: the original takes %.4g ms in %s and %.4g ms in fp32; leave precision= out, unless what counts is "
            "the file's size.",
            *(device.name, times.shipped_ms, device.precision, times.float_ms),
        )
    return times
