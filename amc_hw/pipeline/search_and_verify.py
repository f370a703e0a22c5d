"""From a trained network to a policy that the device has confirmed; the run folder keeps it."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch

from amc_hw.budget.network_costs import network_costs
from amc_hw.formats import program
from amc_hw.formats.registry import FORMATS
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.pipeline.budget_use import chosen_and_missed
from amc_hw.pipeline.chosen import blindly_chosen, chosen_policy, under_floor
from amc_hw.pipeline.job import Job, opened_job
from amc_hw.pipeline.originals import with_float_original
from amc_hw.pipeline.other_devices import named, not_proved, other_limits
from amc_hw.pipeline.precision_alone import keep_original, keeps_budgets
from amc_hw.pipeline.present_speed import at_present_speed, is_in_ms
from amc_hw.pipeline.search import search
from amc_hw.pipeline.settings import table_of
from amc_hw.pipeline.shortlist import shortlist
from amc_hw.pipeline.table_doubts import doubts_elsewhere, doubts_of_tables
from amc_hw.pipeline.unverified import NOT_VERIFIED, reliance, trust_in_table
from amc_hw.pipeline.verify import verify
from amc_hw.profiling.doubts import doubts_of_table
from amc_hw.profiling.profile import run_cost
from amc_hw.profiling.speed import speed_of
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import ChosenPolicy
from amc_hw.search.study import read_study
from amc_hw.training.compute import CPU

_LOG = logging.getLogger(__name__)


def search_on_device(run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU) -> ChosenPolicy:
    """Search a policy, verify it on the device, and return it; see `amc_hw.pipeline.compress.compress`."""
    with opened_job(run, config, progress, compute) as (job, progress):
        search_and_verify(job, progress)
    return job.run.policy.read()


def search_and_verify(job: Job, progress: Progress) -> float | None:
    """Search a policy and verify it on the device; the run folder then has policy.json and pruned.pt.

    Where the device is known by its table only, nothing is verified, and policy.json says so. Where the original keeps
    the budgets by its precision, there is no search.

    Returns:
        What shares of a latency are of, as far as it is predicted, in milliseconds.
    """
    if keeps_budgets(job, progress):
        keep_original(job, progress)
        return None
    run, config, trained, device = job.run, job.config, job.trained, job.device
    if not device.in_reach:
        _LOG.warning("%s: %s", device.name, NOT_VERIFIED)
    latency, template, error = run_cost(run, device, trained, table_of(config), config.seed, progress)
    exported = template.file(trained.network.original, np.random.default_rng(0))
    begun = run.episodes.exists()  # a search that goes on must see the speed that it began with
    speed = run.speed.find() if begun else speed_of(run, device, trained, template, progress)
    latency = at_present_speed(latency, job.latency_budget, speed)
    costs = network_costs(trained.network, latency, len(exported), device.precision)
    costs = with_float_original(run, trained, device, costs, job.budgets, progress)
    whole = costs.whole("latency_ms", trained.network.original)
    predicted = whole if math.isfinite(whole) else None
    if _is_searched(run, config) and not (device.in_reach and chosen_and_missed(job) is not None):
        return predicted
    again = run if job.others else None
    doubtful = doubts_of_table(run, device, trained, template, again=again, in_ms=is_in_ms(job.latency_budget))
    doubtful = _of_own(job, doubtful)
    for sentence in doubtful:
        _LOG.warning("%s", sentence)
    elsewhere = other_limits(run, job.others, trained, config.seed, progress)
    found = search(job, costs, max(error, elsewhere.error), progress, elsewhere.limits)
    blindly = blindly_chosen(episode.accuracy for episode in found.study.episodes)
    for sentence in blindly:
        _LOG.warning("%s", sentence)
    ranked = shortlist(job, found, progress)
    if not device.in_reach:
        verified = trust_in_table(job, found, ranked, progress)
        relied_on = _of_own(job, reliance(trained, run, template))
        warnings = [NOT_VERIFIED, *relied_on, *doubts_elsewhere(job, found, verified.chosen)]
    else:
        verified = verify(job, found, ranked, progress)
        warnings = doubts_of_tables(job, found, verified.chosen)
    if verified.chosen.channels == trained.network.original:
        warnings = [f"nothing is pruned: the original in {config.precision} keeps the budget.", *warnings]
    warnings = [
        *trained.notes,
        *not_proved(job.others),
        *doubtful,
        *elsewhere.doubts,
        *warnings,
        *blindly,
        *under_floor(verified.chosen, config.accuracy_floor),
    ]
    for folder in (run, *(other.folder for other in job.others)):
        folder.invalidate_after_search((*FORMATS, program.ENDING))
    save_checkpoint(verified.model, run.pruned)
    run.policy.write(chosen_policy(trained, costs, verified.chosen, verified.candidates, config.episodes, warnings))
    return predicted


def _of_own(job: Job, sentences: list[str]) -> list[str]:
    """Return what is said of the run's own device, with its name where it is one of several."""
    return named(job.device.name, sentences) if job.others else sentences


def _is_searched(run: RunFolder, config: RunConfig) -> bool:
    """Tell whether the run has a verified policy from as many episodes as are asked for.

    Raises:
        RunFolderError: the log of its episodes is damaged; better now than after the benchmark.
    """
    if not (run.policy.exists() and run.pruned.exists() and run.episodes.exists()):
        return False
    read_study(run.episodes.path)
    return run.policy.read().episodes == config.episodes
