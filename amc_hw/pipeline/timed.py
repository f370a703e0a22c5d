"""A pruned network that is timed on its way: written, timed beside the original, and taken away again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from amc_hw.budget.budget import Budget
from amc_hw.devices.base import Device
from amc_hw.pipeline.finish import original_of
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Precision
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.deployed import export_for
from amc_hw.profiling.protocol import QUICK, Protocol
from amc_hw.profiling.timing import Timing, is_undecided
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT, Progress


def measure(
    run: RunFolder, trained: TrainedModel, model: nn.Module, device: Device, of: Precision = "fp32"
) -> dict[str, Timing]:
    """Time a pruned network, the ``candidate``, beside the ``original`` in a precision, for a comparison.

    Raises:
        UnsupportedModelError: it cannot be converted, or rounding leaves nothing of one of its outputs.
        DeviceError: a measurement failed.
    """
    return _timed(run, trained, model, device, of, QUICK, SILENT, lambda _: True)


def rehearse(
    run: RunFolder, trained: TrainedModel, model: nn.Module, device: Device, budget: Budget, progress: Progress
) -> dict[str, Timing]:
    """Time a pruned network as the last benchmark will, and name the timings so; see `measure`."""

    def is_decided(timings: Mapping[str, Timing]) -> bool:
        return not is_undecided(budget, timings["candidate"], timings["original"])

    timings = _timed(run, trained, model, device, budget.of, Protocol(), progress, is_decided)
    return {"compressed": timings["candidate"], original_of(budget): timings["original"]}


def _timed(
    run: RunFolder,
    trained: TrainedModel,
    model: nn.Module,
    device: Device,
    of: Precision,
    protocol: Protocol,
    progress: Progress,
    is_decided: Callable[[Mapping[str, Timing]], bool],
) -> dict[str, Timing]:
    file = run.candidate(device.format)
    export_for(device, trained, model, file)
    try:
        files = {"original": run.original(device.format, of), "candidate": file}
        return benchmark(device, files, protocol, progress, is_decided)
    finally:
        file.unlink()
