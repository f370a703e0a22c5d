"""What needs no pruning: the original that keeps its budgets in the precision that ships."""

from __future__ import annotations

import logging

import torch

from amc_hw.formats import program
from amc_hw.formats.registry import FORMATS
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.pipeline.budget_use import missed_policies
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.originals import are_kept, original_costs, original_times, shares_used
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import ChosenPolicy
from amc_hw.search.rewards import find_reward
from amc_hw.search.scoring import PartScorer
from amc_hw.training.evaluation import clearly_more

_LOG = logging.getLogger(__name__)


def keeps_budgets(job: Job, progress: Progress) -> bool:
    """Tell whether the original keeps every budget by its precision alone, as the device and the files say.

    Where the reward gives channels away for their own sake, or a last benchmark has found the original over the
    budget, that is not enough; nor is it known on a device out of reach, or looked for on several.
    """
    run, device, original = job.run, job.device, job.trained.network.original
    enough = find_reward(job.config.reward, job.config.accuracy_floor).needs_budget
    if device.precision == "fp32" or not device.in_reach or not enough or job.others:
        return False
    if tuple(original.items()) in missed_policies(run):
        return False
    times = original_times(run, job.trained, device, progress)
    shipped = original_costs(job.trained.network, times.shipped_ms, run.original(device.format, device.precision))
    in_fp32 = original_costs(job.trained.network, times.float_ms, run.original(device.format))
    return are_kept(shares_used(job.budgets, shipped, {"fp32": in_fp32, device.precision: shipped}))


def keep_original(job: Job, progress: Progress) -> None:
    """Choose the original itself: the run folder then has its policy.json and pruned.pt, without a search."""
    run, trained = job.run, job.trained
    policy = dict(trained.network.original)
    if run.policy.exists() and run.pruned.exists() and run.policy.read().is_original:
        return
    _LOG.info("nothing is pruned: the original in %s keeps the budget.", job.device.precision)
    run.invalidate_after_search((*FORMATS, program.ENDING))
    save_checkpoint(trained.start, run.pruned)
    times = original_times(run, trained, job.device, progress)
    run.policy.write(
        ChosenPolicy(
            channels=policy,
            original_channels=policy,
            measured_ms=times.shipped_ms,
            warnings=list(trained.notes),
            unprunable=dict(trained.network.unprunable),
            image_size=trained.image_size,
            **trained.policy_fields,
        )
    )


def loses_by_rounding(job: Job) -> bool:
    """Tell whether the file is clearly worse than the network in fp32, on images of the validation split.

    A score of the user's own tells no single images; there, it is taken to lose.
    """
    trained, score = job.trained, job.score
    if not isinstance(score, PartScorer):
        return True
    exact, images = PartScorer(score.part, score.compute), torch.arange(len(score.part))
    rounded, whole = (each.right(each.prepared(trained.start), images) for each in (score, exact))
    return clearly_more(whole, rounded)
