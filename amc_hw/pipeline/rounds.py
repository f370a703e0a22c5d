"""A schedule of budgets: each round prunes and fine-tunes what the one before left, all budgets are the original's."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from amc_hw.pipeline import finish
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.precision_alone import keeps_budgets
from amc_hw.pipeline.search_and_verify import search_and_verify
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.pruning.surgery import first_channels, shrink, widened
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress

Round = tuple[RunFolder, RunConfig]
"""A round's folder and its settings."""


def plan_rounds(run: RunFolder, config: RunConfig) -> list[Round]:
    """Return the folder and the settings of every round; the last one is the run itself.

    Earlier rounds are in ``round-1``, ``round-2`` ... of the run folder and have no budget but their own.
    """
    earlier = [
        (run.round(number), config.model_copy(update={"budget": text, "limits": {}}))
        for number, text in enumerate(config.rounds, start=1)
    ]
    return [*earlier, (run, config)]


def after_rounds(job: Job, progress: Progress) -> Job:
    """Prune channels and fine-tune in all rounds but the last; what is finished is not repeated.

    Returns:
        The last round: its costs, its teacher and what it is measured beside are the original's.
    """
    *earlier, _ = plan_rounds(job.run, job.config)
    if earlier and keeps_budgets(job, progress):
        return job
    if earlier:
        _require_widening(job.trained)
    for number, (folder, settings) in enumerate(earlier, start=1):
        part = progress.within(round_name(number, len(earlier) + 1))
        open_run(folder.path, settings)
        search_and_verify(replace(job, run=folder, config=settings), part)
        trained = job.trained
        model = finish.finetune(folder, trained, settings.epochs, settings.seed, part, learn_search=False)
        job = replace(job, trained=_pruned_once_more(trained, folder.policy.read().channels, model))
    return job


def _require_widening(trained: TrainedModel) -> None:
    """Raise UnsupportedModelError, before a round is searched, where none could go on from another."""
    kept = first_channels({group: counts[0] for group, counts in trained.choices.items()})
    small = shrink(trained.model, trained.network, kept)
    widened(trained.model, trained.network, kept, small, trained.example)


def _pruned_once_more(trained: TrainedModel, policy: Policy, model: nn.Module) -> TrainedModel:
    """Return what the next round prunes: channels that this one took are zero, and are not offered again."""
    kept = first_channels(policy)
    return replace(
        trained,
        pruned_before=widened(trained.model, trained.network, kept, model, trained.example),
        choices={
            group: tuple(count for count in counts if count <= max(policy[group], counts[0]))
            for group, counts in trained.choices.items()
        },
    )


def round_name(number: int, rounds: int) -> str:
    """Return a round's name for people."""
    return f"round {number} of {rounds}"
