"""Which precision ships where the user leaves it open: the one that keeps most accuracy within the budget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from amc_hw.budget.bounds import Bounds
from amc_hw.budget.network_costs import macs_cost
from amc_hw.chance import standard_error
from amc_hw.devices.base import CpuFallbackError, Device
from amc_hw.devices.registry import precisions_of
from amc_hw.errors import BudgetError, UnsupportedModelError
from amc_hw.pipeline.family import Family
from amc_hw.pipeline.originals import are_kept, export_original, original_costs, shares_used
from amc_hw.pipeline.settings import parse_budgets
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Precision
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.protocol import QUICK
from amc_hw.profiling.timing import Timing
from amc_hw.pruning.pruner import Pruner
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import OriginalTimes, PrecisionChoice, PrecisionTrial
from amc_hw.search.moves import largest_uniform

TRIED: tuple[Precision, ...] = ("fp32", "fp16", "int8-dynamic", "int8")
"""What is compared. int16x8 is left out: no processor that is known here runs it faster than float32; and bf16: a GPU
takes as long for it as for fp16, which has three more bits behind the point."""

WORTH_IT = 0.95
"""What a precision must take of fp32's time to be worth its rounding: what is hardly faster is slower once pruned."""

NEAR = 0.005
"""A difference of scores that says nothing, where they are no accuracies on a known number of images."""

_LOG = logging.getLogger(__name__)


def choose_precision(
    run: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    score_in: Callable[[Precision], Callable[[nn.Module], float]],
    family: Family,
    progress: Progress,
) -> Precision:
    """Return the precision that keeps most accuracy within a run's budgets, by what the device and the files say.

    The original is written and timed in each. Those in which it keeps the budgets by itself are compared by its
    accuracy. If there are none, each that takes less than fp32 gets what it needs: one keep ratio for all groups, at
    the share of the multiply-accumulates that its time allows, and the accuracies of these networks are compared,
    before any fine-tuning. Of several that are within one standard error of the best (of a task of
    the user's own: `NEAR`), the fastest is taken, or fp32 where that is nearly as fast.

    Args:
        run: the run folder, which keeps the originals and precision.json.
        config: the settings.
        trained: the network.
        device: is left with files of the chosen precision.
        score_in: what the search maximises in a precision.
        family: makes the pruned networks, and will for the search.
        progress: is told how far the work is.

    Raises:
        UnsupportedModelError: the network cannot be exported at all.
    """
    if not device.in_reach:
        return device.precision  # that of its table
    trials, alone = _timed(run, config, trained, device, progress)
    alone = [trial for trial in alone if trial.precision == "fp32"] or alone  # which needs nothing, and is told so
    quicker = [trial for trial in trials if trial.precision == "fp32" or trial.used < trials[0].used]
    pruner = None if alone else family.pruner(trained, config.seed, config.importance, again=True)
    compared = [_scored(trial, trained, pruner, score_in, progress) for trial in alone or quicker]
    known = [trial for trial in compared if trial.accuracy is not None]
    best = max((trial.accuracy or 0.0 for trial in known), default=0.0)
    images = trained.task.search_images
    error = NEAR if images is None else standard_error(best, images)
    near = [trial for trial in known if (trial.accuracy or 0.0) >= best - error] or compared
    chosen = _fastest(near)
    _tell(chosen, trials, bool(alone), images)
    times = {trial.precision: trial.latency_ms for trial in trials}
    run.original_times.write(OriginalTimes(float_ms=times["fp32"], shipped_ms=chosen.latency_ms))
    scored = {trial.precision: trial for trial in compared}
    run.precision.write(
        PrecisionChoice(
            chosen=chosen.precision,
            alone=bool(alone),
            trials=[scored.get(trial.precision, trial) for trial in trials],
        )
    )
    return chosen.precision


def _fastest(trials: Sequence[PrecisionTrial]) -> PrecisionTrial:
    """Return the fastest of trials that are as accurate; fp32 where it is nearly that."""
    fastest = min(trials, key=lambda trial: trial.latency_ms)
    whole = next((trial for trial in trials if trial.precision == "fp32"), fastest)
    return whole if fastest.latency_ms > WORTH_IT * whole.latency_ms else fastest


def _timed(
    run: RunFolder, config: RunConfig, trained: TrainedModel, device: Device, progress: Progress
) -> tuple[list[PrecisionTrial], list[PrecisionTrial]]:
    """Write the original in every precision and time the files in turns; return all, and those that are enough."""
    files: dict[str, Path] = {}
    budgets = parse_budgets(config)
    sized = any(budget.metric == "size_bytes" for budget in budgets)
    for precision in TRIED:
        if precision not in precisions_of(config.device):
            continue
        if precision == "fp16" and device.format == "tflite" and not sized:
            continue  # processors compute such a file in float32: it is only smaller
        try:
            files[precision] = export_original(run, trained, device, precision, progress)
        except UnsupportedModelError as error:
            if precision == "fp32":
                raise
            _LOG.warning("%s is left out: %s", precision, error)
    timings = _timings(device, files, progress)
    trials, alone = [], []
    measured = [each for each in TRIED if each in files]
    costs = {each: original_costs(trained.network, timings[each].latency_ms, files[each]) for each in measured}
    for precision, here in costs.items():
        shares, latency, size = shares_used(budgets, here, costs), here["latency_ms"], int(here["size_bytes"])
        used = max(shares.values())
        trials.append(PrecisionTrial(precision=precision, latency_ms=latency, size_bytes=size, used=used))
        if are_kept(shares):
            alone.append(trials[-1])
    return trials, alone


def _timings(device: Device, files: dict[str, Path], progress: Progress) -> Mapping[str, Timing]:
    """Time the files; a precision of which an accelerator leaves a part to the processor is taken out of them."""
    while True:
        try:
            return benchmark(device, files, QUICK, progress)
        except CpuFallbackError as error:
            precision = next(name for name, file in files.items() if file == error.file)
            if precision == "fp32":
                raise
            _LOG.warning("%s is left out: %s", precision, error)
            del files[precision]


def _scored(
    trial: PrecisionTrial,
    trained: TrainedModel,
    pruner: Pruner | None,
    score_in: Callable[[Precision], Callable[[nn.Module], float]],
    progress: Progress,
) -> PrecisionTrial:
    """Return a trial with the accuracy of the original, or with a pruner, of a network that keeps the budget."""
    progress(f"scoring {trial.precision}")
    model = trained.start
    if pruner is not None:
        cost = macs_cost(trained.network)
        try:
            bounds = Bounds(cost, trained.decisions, cost(trained.network.original) / trial.used)
        except BudgetError:
            return trial  # not even the smallest channel counts are enough
        _, policy = largest_uniform(trained.decisions, bounds)
        model = pruner.pruned(policy)
    try:
        accuracy = score_in(trial.precision)(model)
    except UnsupportedModelError as error:
        _LOG.warning("%s is left out: %s", trial.precision, error)
        return trial
    return trial.model_copy(update={"accuracy": accuracy})


def _tell(chosen: PrecisionTrial, trials: list[PrecisionTrial], alone: bool, images: int | None) -> None:
    whole = next(trial.latency_ms for trial in trials if trial.precision == "fp32")
    shares = ", ".join(
        f"{trial.precision} {trial.latency_ms / whole:.2f}x ({trial.size_bytes / 1000:.0f} kB)" for trial in trials
    )
    if not alone and chosen.accuracy is None:
        why = f"in none of them do fewer channels seem to be enough; {chosen.precision} is tried"
    else:
        kept = "the original keeps the budget in it" if alone else "within the budget it keeps the most accuracy"
        told = "half a point says" if images is None else f"{images} images tell"
        why = f"{chosen.precision} ships: {kept}, and of those as accurate for all that {told} it is the fastest"
    _LOG.info("the original on the device: %s; %s", shares, why)
