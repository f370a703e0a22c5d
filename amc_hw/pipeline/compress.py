"""The whole way in one call: measure, search, verify, fine-tune, export, benchmark, report.

Every step finds what an earlier call finished in the run folder, so the same call goes on where one stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from amc_hw.budget.budget import Budget, of_latency
from amc_hw.errors import BudgetError, UnsupportedModelError
from amc_hw.pipeline import finish
from amc_hw.pipeline.family import Family
from amc_hw.pipeline.job import Job, opened_job
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.precision_alone import loses_by_rounding
from amc_hw.pipeline.rounds import after_rounds
from amc_hw.pipeline.search_and_verify import search_and_verify
from amc_hw.pipeline.summary import summarise
from amc_hw.pipeline.timed import rehearse
from amc_hw.profiling.timing import Timing, share_doubt, share_used
from amc_hw.report.html import write_report
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import ChosenPolicy, Miss
from amc_hw.runs.summaries import Summary
from amc_hw.training.compute import CPU

_LOG = logging.getLogger(__name__)

PROOFS = 3
"""Last benchmarks of a run, or rehearsals before the fine-tuning: after each that misses the budget, the network is
made smaller."""
TOO_BUSY = 0.05
"""Doubt from which on a miss says more of what else the device does than of the network."""


@dataclass(frozen=True)
class Proof:
    """The last benchmark on one device, beside its budget; without timings where it cannot be measured."""

    folder: RunFolder
    budget: Budget
    timings: Mapping[str, Timing]


def compress(
    run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU, family: Family | None = None
) -> Summary:
    """Compress a network to its budget and prove it on the device.

    Args:
        run: the run folder; made, or gone on with.
        config: the settings.
        progress: is told how far the work is.
        compute: where to train, prune and score.
        family: the runs of a sweep that this one may take over from.

    Returns:
        What the run came to.

    Raises:
        AmcHwError: a step failed; what was finished is kept in the run folder.
    """
    with opened_job(run, config, progress, compute, family=family) as (job, progress):
        return compress_job(job, progress)


def compress_job(job: Job, progress: Progress) -> Summary:
    """Compress what is opened already; see `compress`."""
    job = after_rounds(job, progress)
    proved = _proved_weights(job)
    predicted = search_and_verify(job, progress)
    for proof in range(1, PROOFS + 1):
        epochs = _epochs(job)
        if proof < PROOFS and _is_rehearsed(job, epochs):
            rehearsed = _rehearsal(job, progress)
            if _has_to_be_smaller(job, "the last benchmark's rehearsal", rehearsed, progress):
                continue
        finish.finetune(job.run, job.trained, epochs, job.config.seed, progress)
        is_repeated = proved is not None and proved == job.run.finetuned.read_bytes()
        proofs = _proofs(job, progress)
        if proof == PROOFS or is_repeated or not _has_to_be_smaller(job, "the last benchmark", proofs, progress):
            break
    timings, *elsewhere = [each.timings for each in proofs]
    summary = summarise(job, timings, predicted, progress, elsewhere)
    write_report(job.run.path)
    return summary


def _proofs(job: Job, progress: Progress) -> list[Proof]:
    """Export the network and benchmark it on every device, the run's own first."""
    progress("exporting the compressed network")
    finish.export(job.run, job.trained, job.device.format, job.device.fingerprint().batch_size)
    timings = finish.benchmark_run(job.run, job.device, job.budgets[0], progress) if job.device.in_reach else {}
    elsewhere = [finish.prove_elsewhere(job.run, job.trained, other, progress) for other in job.others]
    return [
        Proof(job.run, job.budgets[0], timings),
        *(Proof(other.folder, other.budget, each) for other, each in zip(job.others, elsewhere, strict=True)),
    ]


def _is_rehearsed(job: Job, epochs: int) -> bool:
    """Tell whether the last benchmark is rehearsed: where a latency is to be kept, and epochs could be in vain."""
    if not epochs or job.run.finetuned.exists() or job.run.finetune_state(epochs).exists():
        return False
    in_reach = job.device.in_reach or any(other.device.in_reach for other in job.others)
    return in_reach and of_latency(job.budgets) is not None


def _rehearsal(job: Job, progress: Progress) -> list[Proof]:
    """Time the network before it is fine-tuned as it will be at last: other weights take no other time.

    One that cannot be written yet, because rounding leaves nothing of it, may be when it has learned.
    """
    model = restore(job.run, job.trained, job.run.pruned)
    places = [(job.run, job.device, job.budgets[0]), *((each.folder, each.device, each.budget) for each in job.others)]
    try:
        return [
            Proof(folder, budget, rehearse(folder, job.trained, model, device, budget, progress.within("rehearsal")))
            for folder, device, budget in places
            if device.in_reach
        ]
    except UnsupportedModelError as error:
        _LOG.warning("the last benchmark is not rehearsed: %s", error)
        return []


def _epochs(job: Job) -> int:
    """Return how long to fine-tune: not at all where nothing is pruned, and rounding loses nothing to speak of."""
    is_done = job.run.policy.read().is_original and not loses_by_rounding(job)
    return 0 if is_done else job.config.epochs


def _proved_weights(job: Job) -> bytes | None:
    """Return the weights that an earlier call has proved to keep a latency budget; None where there are none.

    Another benchmark of these may find the device slower, but they are no worse for it, and stay.
    """
    summary, weights = job.run.summary.find(), job.run.finetuned
    if summary is None or summary.budget is None or summary.compressed.latency_ms is None or not weights.exists():
        return None
    is_kept = summary.budget.metric != "latency_ms" or summary.compressed.latency_ms <= summary.budget.target
    is_kept = is_kept and all(each.is_kept for each in summary.devices)
    return weights.read_bytes() if is_kept else None


def share_proved(budget: Budget, timings: Mapping[str, Timing]) -> float:
    """Return the share of a latency budget that a run uses by its last benchmark; 0 where none was measured."""
    if not timings or budget.metric != "latency_ms":
        return 0.0
    return share_used(budget, timings["compressed"], timings[finish.original_of(budget)])


def share_found(budget: Budget, policy: ChosenPolicy, elsewhere: str = "") -> float:
    """Return the share of its latency budget that the policy used when it was chosen; 1 where nobody measured.

    Args:
        budget: of the latency.
        policy: the chosen one.
        elsewhere: the further device that the budget is of; by default the run's own.
    """
    own = policy.chosen
    chosen = own if own is None or not elsewhere else own.elsewhere.get(elsewhere)
    if chosen is None or chosen.measured_ms is None or chosen.original_ms is None:
        return 1.0
    return chosen.measured_ms / budget.allowed(chosen.original_ms)


def _is_missed(budget: Budget, timings: Mapping[str, Timing]) -> bool:
    """Tell whether the last benchmark is over the budget, and says so of the network and not of a busy device."""
    return (
        share_proved(budget, timings) > 1
        and share_doubt(budget, timings["compressed"], timings[finish.original_of(budget)]) <= TOO_BUSY
    )


def _has_to_be_smaller(job: Job, what: str, proofs: list[Proof], progress: Progress) -> bool:
    """Note which proofs miss their budgets and choose a smaller policy then; tell whether there is one."""
    missed = [each for each in proofs if _is_missed(each.budget, each.timings)]
    policy, names = job.run.policy.read(), {other.folder: other.device.name for other in job.others}
    for proof in missed:
        used, name = share_proved(proof.budget, proof.timings), names.get(proof.folder, "")
        over, where = 100 * (used - 1), f" on {name or job.device.name}" if job.others else ""
        _LOG.warning("%s%s is %.1f %% over the budget: making the network smaller", what, where, over)
        found = share_found(proof.budget, policy, name)
        proof.folder.misses.append(Miss(channels=policy.channels, found=found, used=used))
    try:
        if missed:
            search_and_verify(job, progress)
    except BudgetError as error:  # what there is stays, and the report says that it misses
        _LOG.warning("%s", error)
        return False
    return bool(missed)
