"""A schedule of budgets: each round prunes and fine-tunes what the one before left, all budgets are the original's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from amc_hw.pipeline import finish
from amc_hw.pipeline.settings import require_falling
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.pruning.surgery import widened
from amc_hw.runs.config import RunConfig, open_run
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress

Round = tuple[RunFolder, RunConfig]
"""A round's folder and its settings."""


def plan_rounds(run: RunFolder, config: RunConfig) -> list[Round]:
    """Return the folder and the settings of every round; the last one is the run itself.

    Earlier rounds are in ``round-1``, ``round-2`` ... of the run folder and have no budget but their own.

    Raises:
        UsageError: a budget cannot be read, or they do not fall.
    """
    require_falling(config)
    earlier = [
        (run.round(number), config.model_copy(update={"budget": text, "limits": {}}))
        for number, text in enumerate(config.rounds, start=1)
    ]
    return [*earlier, (run, config)]


def after_rounds(
    earlier: Sequence[Round],
    trained: TrainedModel,
    search: Callable[[RunFolder, RunConfig, TrainedModel, Progress], None],
    progress: Progress,
) -> TrainedModel:
    """Prune channels and fine-tune in all rounds but the last; what is finished is not repeated.

    Args:
        earlier: the rounds.
        trained: the original network.
        search: leaves a policy and its network in a round's folder.
        progress: is told how far the work is.

    Returns:
        What the last round prunes: its costs, its teacher and what it is measured beside are the original's.
    """
    for number, (folder, settings) in enumerate(earlier, start=1):
        told = progress.within(round_name(number, len(earlier) + 1))
        open_run(folder.path, settings)
        search(folder, settings, trained, told)
        model = finish.finetune(folder, trained, settings.epochs, settings.seed, told, learn_search=False)
        policy = folder.policy.read().channels
        kept = {group: range(count) for group, count in policy.items()}
        trained = replace(
            trained,
            pruned_before=widened(trained.model, trained.network, kept, model, trained.example),
            choices={
                group: tuple(count for count in counts if count <= max(policy[group], counts[0]))
                for group, counts in trained.choices.items()
            },
        )
    return trained


def round_name(number: int, rounds: int) -> str:
    """Return a round's name for people."""
    return f"round {number} of {rounds}"
