"""The search of a run: from a trained network to policies within its budgets, each with its score."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from amc_hw.budget.bounds import Limit, OutOfReachError
from amc_hw.budget.budget import Budget, of_latency
from amc_hw.budget.network_costs import NetworkCosts
from amc_hw.errors import UsageError
from amc_hw.pipeline.agent import agent_file, keep_first_agent
from amc_hw.pipeline.family import episodes_left, known_scores
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.run_search import run_search
from amc_hw.pipeline.steps import search_steps
from amc_hw.policy import Policy
from amc_hw.pruning.pruner import Pruner
from amc_hw.runs.config import RunConfig
from amc_hw.runs.progress import Progress
from amc_hw.search.rewards import Reward, find_reward, with_floor
from amc_hw.search.scoring import PartScorer, Sampling
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import RECALL, WEIGH_CHANNELS, build_strategy
from amc_hw.search.study import Problem, StudyResult

LARGEST_MARGIN = 0.01
_LOG = logging.getLogger(__name__)

CANDIDATES = 3
"""Best policies of a search that are compared after a short fine-tune."""
SETTLED = 30
"""Episodes in a row without a policy that was not scored before, after which a search has seen what it will see."""
FEW_IMAGES = 512
"""Of a validation split in which one image is a fifth of a point at least."""


@dataclass(frozen=True)
class Search:
    """A finished search: its episodes, what they were limited by, and the tools to make their networks.

    Attributes:
        study: its episodes.
        original: the original network's channels.
        budgets: what the policies must keep, all of it.
        margin: share of a latency budget that was left free for the table's error.
        costs: what policies cost.
        pruner: makes their networks.
        bounded: whether the search maximised accuracy within the budgets, so that they should be used up.
        floor: least accuracy on the validation split, 0..1, that a policy should have; 0 where none was asked for.
        elsewhere: latency budgets on further devices, as limits.
        sampled: whether the scores are those of a sample of the validation split.
    """

    study: StudyResult
    original: Policy
    budgets: tuple[Budget, ...]
    margin: float
    costs: NetworkCosts
    pruner: Pruner
    bounded: bool = True
    floor: float = 0.0
    elsewhere: tuple[Limit, ...] = ()
    sampled: bool = False

    def limits(self, latency_share: float, elsewhere: Sequence[float] = ()) -> tuple[Limit, ...]:
        """Return the budgets as limits, of a latency budget the given share; on further devices each its own."""
        shares = elsewhere or [latency_share] * len(self.elsewhere)
        there = [Limit(each.cost, share * each.most) for each, share in zip(self.elsewhere, shares, strict=True)]
        return (*budget_limits(self.budgets, self.costs, self.original, latency_share), *there)

    @property
    def latency_budget(self) -> Budget | None:
        """The budget that the device has the last word on."""
        return of_latency(self.budgets)


def budget_limits(
    budgets: Sequence[Budget], costs: NetworkCosts, original: Policy, latency_share: float
) -> tuple[Limit, ...]:
    """Return budgets as limits, of a latency budget the given share."""
    limits = []
    for budget in budgets:
        cost = costs.of(budget.metric)
        share = latency_share if budget.metric == "latency_ms" else 1.0
        limits.append(Limit(cost, share * budget.allowed(costs.whole(budget.metric, original, budget.of))))
    return tuple(limits)


def search(
    job: Job, costs: NetworkCosts, table_error: float, progress: Progress, elsewhere: tuple[Limit, ...] = ()
) -> Search:
    """Search a policy, or go on where the run's log ends.

    Args:
        job: what is compressed; its run folder gets the log.
        costs: what policies cost.
        table_error: mean prediction error of the latency table, a fraction; a latency budget is searched that
            much below the target (1 % at most), so that the first candidate mostly fits when it is measured.
        progress: is told how far the work is.
        elsewhere: latency budgets on further devices, as limits.

    Raises:
        BudgetError: the original keeps a budget already; of several devices' latency budgets, all of them.
        UsageError: the original network itself is under the accuracy's floor, or the agent to begin with is of
            another network.
    """
    config, trained = job.config, job.trained
    margin, original = min(table_error, LARGEST_MARGIN), trained.network.original
    _require_work(job, costs, elsewhere)
    main, *others = budget_limits(job.budgets, costs, original, 1 - margin)
    others += [Limit(each.cost, (1 - margin) * each.most) for each in elsewhere]
    reward = _reward(job, main.cost(original))
    try:
        space = SearchSpace(search_steps(trained), main.cost, main.most if reward.needs_budget else None, others)
    except OutOfReachError as error:
        raise _as_asked(error, job, costs, margin, elsewhere) from error
    holds = reward.needs_budget and all(limit.cost(original) <= limit.most for limit in (main, *others))
    if holds:  # precision alone is enough
        _LOG.info("the original in %s keeps the budget: nothing is pruned", trained.precision)
    progress("gathering statistics for reconstruction")
    pruner = job.family.pruner(trained, config.seed, config.importance)
    keep = CANDIDATES if reward.needs_budget else 0  # then the most accurate policies are the best
    scorer = job.score.of_policies(space, pruner, trained.start, keep, Sampling(progress, job.run.sample))
    known = known_scores(job.run, trained.precision, space, reward) if config.strategy in RECALL else []
    episodes = episodes_left(config.episodes, len(known))
    problem = Problem(
        space,
        reward,
        1 if holds else episodes,
        _settings(config, (main, *others), original, scorer.images) | ({"known": len(known)} if known else {}),
        costs.by_metric() | {each.cost.name: each.cost for each in elsewhere},
        enough=CANDIDATES,
        settled=SETTLED,
        attained=_attained(job) if reward.needs_budget else math.inf,
    )
    agent = agent_file(job.run, config)
    keep_first_agent(job.run, agent)
    importance = pruner.channel_importance() if config.strategy in WEIGH_CHANNELS else None
    name, agent = ("uniform", None) if holds else (config.strategy, agent)  # whose first policy is the original
    strategy = build_strategy(name, space, seed=config.seed, episodes=episodes, importance=importance, agent=agent)
    strategy.recall(known)
    study = run_search(job.run, problem, strategy, scorer, progress)
    strategy.save(job.run.agent)
    bounded, floor = reward.needs_budget, config.accuracy_floor or 0.0
    sampled = scorer.images is not None and scorer.images < (trained.task.search_images or 0)
    return Search(study, original, job.budgets, margin, costs, pruner, bounded, floor, elsewhere, sampled)


def _attained(job: Job) -> float:
    """Return the accuracy from which a small split does not tell policies apart: the original's; else infinity."""
    images = job.trained.task.search_images
    is_small = isinstance(job.score, PartScorer) and images is not None and images < FEW_IMAGES
    return job.score(job.trained.model) if is_small else math.inf


def _require_work(job: Job, costs: NetworkCosts, elsewhere: Sequence[Limit]) -> None:
    """Raise BudgetError where the original keeps a budget already; of several devices one may have nothing to hold."""
    original = job.trained.network.original
    kept = all(limit.cost(original) <= limit.most for limit in elsewhere)
    for budget in job.budgets:
        if kept or budget.metric != "latency_ms":
            budget.target(costs.whole(budget.metric, original, budget.of))


def _as_asked(
    error: OutOfReachError, job: Job, costs: NetworkCosts, margin: float, elsewhere: Sequence[Limit]
) -> OutOfReachError:
    """Return what cannot be reached in the words of who asked: without the margin, and as a share of the original."""
    original = job.trained.network.original
    wholes = {
        costs.of(budget.metric).name: costs.whole(budget.metric, original, budget.of)
        for budget in job.budgets
        if budget.ratio is not None
    }
    for other, limit in zip(job.others, elsewhere, strict=True):
        if other.budget.ratio is not None:
            wholes[limit.cost.name] = limit.most / other.budget.ratio
    share = 1 - margin if error.cost.metric == "latency_ms" else 1.0
    of = {costs.of(budget.metric).name: budget.of for budget in job.budgets if budget.of != "fp32"}
    return error.as_asked(wholes.get(error.cost.name), share, of.get(error.cost.name, ""))


def _reward(job: Job, original_cost: float) -> Reward:
    """Return what accuracy and cost are worth; raise UsageError where the original is under the accuracy's floor."""
    floor, reward = job.config.accuracy_floor, find_reward(job.config.reward, job.config.accuracy_floor)
    if floor is None:
        return reward
    accuracy = job.score(job.trained.model)
    if accuracy < floor:
        raise UsageError(
            f"the original network's accuracy on the validation split is {accuracy:.2%}, under the floor of "
            f"{floor:.2%}; give a lower accuracy_floor=."
        )
    return with_floor(reward, floor, original_cost)


def _settings(config: RunConfig, limits: Sequence[Limit], original: Policy, images: int | None) -> dict[str, object]:
    """Return everything that the episodes depend on; what does not apply is left out."""
    main, *others = limits
    settings = {
        "strategy": config.strategy,
        "reward": config.reward,
        "accuracy_floor": config.accuracy_floor,
        "seed": config.seed,
        "episodes": config.episodes,
        "metric": config.metric,
        "limit": main.most,
        "original": main.cost(original),
        "limits": {each.cost.name: each.most for each in others} or None,
        "lower": config.lower,
        "multiple": config.multiple,
        "images": images,
    }
    return {name: value for name, value in settings.items() if value is not None}
