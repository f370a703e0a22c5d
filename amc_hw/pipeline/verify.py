"""The device has the last word: the chosen policy is measured, and made smaller or larger until it fits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from amc_hw.devices.base import Device
from amc_hw.errors import BudgetError, UnsupportedModelError
from amc_hw.formats.registry import export
from amc_hw.pipeline.search import Search
from amc_hw.pipeline.shortlist import fit
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.deployed import example_for, export_for
from amc_hw.profiling.protocol import Protocol
from amc_hw.profiling.timing import Timing, share_doubt
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.runs.records import Candidate, Miss

_LOG = logging.getLogger(__name__)

QUICK = Protocol(warmup=30, runs=100, repeats=3)
MEASUREMENTS = 9
HEADROOM = 0.995
"""What is measured here is aimed this much under the target, so that the final benchmark finds it there, too."""
WELL_USED = 0.95
"""The least share of a latency budget that a policy should use by the clock."""
MOST_DOUBT = (1 - WELL_USED) / 2
"""Of a measurement, as a share: aimed further below the target than this, policies would not use their budget."""
FAR_OFF = 0.15
"""Error of the chosen policy's prediction that is no drift of a device's speed any more, but a wrong table."""


@dataclass(frozen=True)
class Verified:
    """The chosen policy with its reconstructed network, and everything that was measured on the way."""

    model: nn.Module
    chosen: Candidate
    candidates: list[Candidate]


def verify(
    run: RunFolder,
    trained: TrainedModel,
    search: Search,
    ranked: list[Policy],
    device: Device,
    score: Callable[[nn.Module], float],
    progress: Progress,
) -> Verified:
    """Make the best policy keep its latency budget on the device, and use it up.

    Each measurement tells how far the table is off for this network. A policy over the budget is made smaller
    by that much, one well under it larger, until it is within the budget and uses 95 % of it, or the channel
    grid has nothing in between. What the repeats leave in doubt counts against a policy, on either side. After a last
    benchmark that missed the budget (see `Miss`), every policy is taken to be as much slower there as that one
    was. A policy that has no file, because rounding leaves nothing of it or the runtime refuses it, gives way to the
    next best one. Without a latency budget one measurement is enough.

    Args:
        run: the run folder; the original's exported file is kept there.
        trained: the network.
        search: the finished search.
        ranked: its best policies, the best first.
        device: where to measure.
        score: accuracy of a pruned network on the search split.
        progress: is told how far the work is.

    Raises:
        BudgetError: not even the smallest policies keep the budget on the device.
        UnsupportedModelError: none of the best policies has a file.
    """
    export_original(run, trained, device, progress)
    budget, latency = search.latency_budget, search.costs.latency_ms
    candidates: list[Candidate] = []
    fitting: tuple[nn.Module, Candidate] | None = None
    best_share = surely_used = 0.0
    policy, *others = ranked
    missed = missed_policies(run)
    slower = max([1.0, *(miss.used / miss.found for miss in missed.values())])
    for attempt in range(MEASUREMENTS):
        progress("measuring candidates", attempt, MEASUREMENTS, f"number {attempt + 1}")
        model = search.pruner.pruned(policy, thorough=True).cpu()
        try:
            timings = measure(run, trained, model, device)
        except UnsupportedModelError as error:
            if fitting is not None:
                break
            policy = _next_best(others, error)
            continue
        original_ms, measured_ms = timings["original"].latency_ms, timings["candidate"].latency_ms
        chosen = Candidate(
            channels=dict(policy),
            score=_score(search, policy, model, score),
            predicted_ms=latency(policy),
            measured_ms=measured_ms,
            original_ms=original_ms,
            repaired=policy not in ranked,
        )
        candidates.append(chosen)
        if budget is None:
            return Verified(model, chosen, candidates)
        allowed = budget.allowed(original_ms)
        share = slower * measured_ms / allowed
        doubt = min(MOST_DOUBT, share_doubt(budget, timings["candidate"], timings["original"]))
        used = share * (1 + doubt)
        if (miss := missed.get(tuple(policy.items()))) is not None:
            used = max(used, miss.used)
        if used <= 1 and share > best_share:  # shares, because the device's speed changes between the measurements
            fitting, best_share, surely_used = (model, chosen), share, share * (1 - doubt)
        if fitting is not None and (surely_used >= WELL_USED or not search.bounded):
            break
        off = used / (latency(policy) / budget.target(search.costs.whole("latency_ms", search.original)))
        try:
            policy = fit(policy, trained.decisions, search.limits(HEADROOM / off))
        except BudgetError:
            break
        if fitting is not None and policy in [candidate.channels for candidate in candidates]:
            break
    if fitting is None:
        if missed:
            run.misses.drop_last()  # it may be proved again: nothing smaller was found to keep the budget
        raise _over_the_budget(measured_ms, allowed, slower)
    return Verified(*fitting, candidates)


def _next_best(others: list[Policy], error: UnsupportedModelError) -> Policy:
    """Return the policy to measure instead of one that has no file; raise its error where there is none."""
    if not others:
        raise error
    _LOG.warning("%s The next best policy is measured instead.", error)
    return others.pop(0)


def _over_the_budget(measured_ms: float, allowed_ms: float, slower: float) -> BudgetError:
    later = f" and the last benchmark takes {slower:.2f} times as long" if slower > 1 else ""
    return BudgetError(
        f"no policy kept the budget on the device: {measured_ms:.4g} ms were measured where {allowed_ms:.4g} ms are "
        f"allowed{later}; the machine may be busy: run the same command again when it is quiet."
    )


def missed_policies(run: RunFolder) -> dict[tuple[tuple[str, int], ...], Miss]:
    """Return the misses of a run by their policies' items."""
    return {tuple(miss.channels.items()): miss for miss in run.misses.read()}


def _score(search: Search, policy: Policy, model: nn.Module, score: Callable[[nn.Module], float]) -> float:
    """Return the score of a policy as the search knows it, or score it now."""
    known = {tuple(episode.channels.items()): episode.accuracy for episode in search.study.episodes}
    accuracy = known.get(tuple(policy.items()))
    return score(model) if accuracy is None else accuracy


def doubts(search: Search, chosen: Candidate, notes: Sequence[str]) -> list[str]:
    """Say that a latency budget's table was wrong about the chosen policy, and what the table says of itself.

    A budget that is a share of the original's latency does not mind what slows or speeds up both networks alike.
    """
    budget = search.latency_budget
    if budget is None or chosen.measured_ms is None or chosen.original_ms is None:
        return []
    drift = 1.0 if budget.ratio is None else chosen.original_ms / search.costs.whole("latency_ms", search.original)
    if abs(chosen.measured_ms / (drift * chosen.predicted_ms) - 1) <= FAR_OFF:
        return []
    return [
        f"the table predicts {chosen.predicted_ms:.4g} ms where the device takes {chosen.measured_ms:.4g} ms, and the "
        "search judged latencies by it; measure into another table when the device is quiet, and search again.",
        *(f"the table says of itself: {note}" for note in notes),
    ]


def export_original(run: RunFolder, trained: TrainedModel, device: Device, progress: Progress) -> None:
    """Keep the original's exported files in the run folder: in fp32, and in the precision that ships."""
    example = example_for(device, trained)
    for precision in dict.fromkeys(("fp32", device.precision)):
        file = run.original(device.format, precision)
        if not file.exists():
            progress("exporting the original")
            io = "float32" if precision == "fp32" else trained.io
            export(trained.model, example, file, precision, trained.calibration, io)


def measure(run: RunFolder, trained: TrainedModel, model: nn.Module, device: Device) -> dict[str, Timing]:
    """Export a pruned network and time it beside the original."""
    file = run.candidate(device.format)
    export_for(device, trained, model, file)
    try:
        return benchmark(device, {"original": run.original(device.format), "candidate": file}, QUICK, SILENT)
    finally:
        file.unlink()
