"""The best of a search are compared after a short fine-tune: accuracy before it ranks good policies poorly."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from amc_hw.budget.bounds import Bounds, Limit
from amc_hw.pipeline.family import nearest_winner
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.search import CANDIDATES, Search
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.runs.records import Contender
from amc_hw.search import moves
from amc_hw.search.scoring import PartScorer
from amc_hw.training.epochs import is_finite

RESCORED = 10
"""Best policies of a search that are scored on the whole validation split where the search looked at a sample of it:
the best of many are the luckiest, too."""


def shortlist(job: Job, search: Search, progress: Progress) -> list[Policy]:
    """Return the search's best policies, the one that is best after a short fine-tune first.

    The uniform policy competes, too: it is often better after fine-tuning than policies that were better before. Where
    another run of the sweep has compared such policies, its winner, made to fit, competes with the best one alone.
    Each is grown to use up its budget, reconstructed, and fine-tuned on the same training images. Results are
    kept in the run folder, so that a stopped comparison goes on. A run without fine-tuning ships what is best before.

    Args:
        job: what is compressed; its seed decides which images are learned, in which order.
        search: the finished search.
        progress: is told how far the work is.
    """
    winner = nearest_winner(job.run, job.trained, search.limits(1 - search.margin)) if search.bounded else None
    untuned = job.config.epochs == 0
    rescored = search.bounded and (search.sampled or untuned)
    best = best_policies(search, job.trained.decisions, RESCORED if rescored else CANDIDATES)
    others = [each for each in rivals(search, job.trained.decisions, winner) if each not in best]
    if rescored:
        best = _rescored(job, search, [*best, *others] if untuned else best, progress)
    if untuned:
        return best
    return _tuned(job, search, [*best[: CANDIDATES if winner is None else 1], *others], progress)


def best_policies(search: Search, choices: Mapping[str, tuple[int, ...]], count: int = CANDIDATES) -> list[Policy]:
    """Return the best different policies by reward that are within the limits, grown to use up what bounds them.

    Those under the accuracy's floor are left out where one keeps it. Where no searched policy is within the
    limits (the accuracy-guaranteed protocol has no bounds), the best one is made smaller.

    Args:
        search: the finished search.
        choices: the channel counts of every group.
        count: how many, at most.
    """
    limits = search.limits(1 - search.margin)
    found: list[Policy] = []
    ranked = search.study.top(len(search.study.episodes))
    within = [each for each in ranked if all(limit.cost(each.channels) <= limit.most for limit in limits)]
    for episode in [each for each in within if each.accuracy >= search.floor] or within:
        policy = fit(episode.channels, choices, limits) if search.bounded else episode.channels
        if policy not in found:
            found.append(policy)
        if len(found) == count:
            break
    return found or [fit(search.study.best.channels, choices, limits)]


def rivals(search: Search, choices: Mapping[str, tuple[int, ...]], winner: Policy | None = None) -> list[Policy]:
    """Return what competes with the best policies of a bounded search: another budget's winner, else the uniform one.

    Args:
        search: the finished search.
        choices: the channel counts of every group.
        winner: what was best after a short fine-tune for another budget.
    """
    if not search.bounded:
        return []
    limits = search.limits(1 - search.margin)
    _, uniform = moves.largest_uniform(choices, bounds_of(choices, limits))
    return [fit(winner or uniform, choices, limits)]


def fit(policy: Policy, choices: Mapping[str, tuple[int, ...]], limits: tuple[Limit, ...]) -> dict[str, int]:
    """Make a policy keep limits and use them up; see `amc_hw.search.moves.fit`.

    Raises:
        BudgetError: no channel counts keep the limits.
    """
    return moves.fit(policy, bounds_of(choices, limits))


def bounds_of(choices: Mapping[str, tuple[int, ...]], limits: tuple[Limit, ...]) -> Bounds:
    """Return limits as bounds of policies; raise BudgetError where no channel counts keep them."""
    first, *others = limits
    return Bounds(first.cost, choices, first.most, others)


def _rescored(job: Job, search: Search, policies: list[Policy], progress: Progress) -> list[Policy]:
    """Return policies in the order of their scores on the whole validation split, before fine-tuning."""
    scores: list[float] = []
    for number, policy in enumerate(policies):
        progress("scoring the best on all images", number, len(policies))
        scores.append(job.score(search.pruner.pruned(policy)))
    return [policies[number] for number in sorted(range(len(policies)), key=lambda number: -scores[number])]


def _tuned(job: Job, search: Search, policies: list[Policy], progress: Progress) -> list[Policy]:
    """Return policies in the order of their scores after a short fine-tune."""
    if len(policies) == 1:
        return policies
    known = {tuple(contender.channels.items()): contender for contender in job.run.shortlist.read()}
    contenders: list[Contender] = []
    for number, policy in enumerate(policies):
        key = tuple(policy.items())
        if key not in known:
            progress("short fine-tunes", number, len(policies), f"candidate {number + 1}")
            piece = progress.piece("short fine-tunes", number, len(policies), f"candidate {number + 1}")
            known[key] = Contender(channels=dict(policy), score=_tuned_score(job, search, policy, piece))
            job.run.shortlist.append(known[key])
        contenders.append(known[key])
        best = max(contenders, key=lambda contender: contender.score)
        progress("short fine-tunes", number + 1, len(policies), f"best {best.score:.2%}")
    return [each.channels for each in sorted(contenders, key=lambda contender: -contender.score)]


def _tuned_score(job: Job, search: Search, policy: Policy, progress: Progress) -> float:
    model = search.pruner.pruned(policy, thorough=True)
    learned = short_finetune(model, job.trained, job.config.seed, progress)
    if not is_finite(model):
        return 0.0  # it has diverged
    return learned if learned is not None and isinstance(job.score, PartScorer) else job.score(model)


def short_finetune(model: nn.Module, trained: TrainedModel, seed: int, progress: Progress = SILENT) -> float | None:
    """Fine-tune a pruned network for a moment; return its score then, 0..1, or None where it has to be asked for."""
    macs = trained.network.macs(trained.network.original)
    return trained.task.short_finetune(trained.as_shipped(model), trained.model, macs, seed, progress)
