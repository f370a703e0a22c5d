"""The search of a run: from a trained network to a policy that the device has confirmed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from amc_hw.budget.bounds import Limit
from amc_hw.budget.budget import Budget
from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import NetworkCosts
from amc_hw.errors import UsageError
from amc_hw.pipeline.agent import keep_agent, keep_first_agent
from amc_hw.pipeline.events import episode_events
from amc_hw.pipeline.settings import agent_file, parse_budgets
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.pruning.pruner import BATCH, Pruner
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import Candidate, ChosenPolicy, Group
from amc_hw.search.live import describe
from amc_hw.search.rewards import find_reward, with_floor
from amc_hw.search.scoring import EarlyDropping, PartScorer
from amc_hw.search.space import SearchSpace, Step
from amc_hw.search.strategies import WEIGH_CHANNELS, build_strategy
from amc_hw.search.study import StudyResult, run_study
from amc_hw.trace.network import Layer
from amc_hw.trace.traced import TracedModel

LEAST_CALIBRATION, MOST_CALIBRATION, CALIBRATION_MACS = 640, 2560, 3.5e11
"""Images for the statistics: more of them help (2,560 images of 16 points gave a halved ResNet-20 1.4 points more than
640 of 48), and cost large networks minutes; so many as have these MACs in the original, and fit these bytes."""
CALIBRATION_BYTES = 2**30
LARGEST_MARGIN = 0.01
CANDIDATES = 3
"""Best policies of a search that are compared after a short fine-tune."""
SETTLED = 30
"""Episodes in a row without a policy that was not scored before, after which a search has seen what it will see."""


def search_steps(trained: TracedModel) -> list[Step]:
    """Return one step for each group, with the features of the first layer that the group feeds.

    They are the paper's (arXiv:1802.03494, section 3.1): output and input channels, height and width of the
    output, stride and kernel size. A group that feeds no convolution or linear layer is described by the
    layer that makes it.
    """
    steps = []
    for group in trained.network.groups:
        fed = [layer for layer in trained.network.layers if group.name in layer.c_in.groups and not layer.depthwise]
        made = [layer for layer in trained.network.layers if group.name in layer.c_out.groups]
        features = layer_features((fed or made)[0], trained.network.original)
        steps.append(Step(group.name, trained.decisions[group.name], features))
    return steps


def layer_features(layer: Layer, original: Policy) -> tuple[float, ...]:
    """Return the paper's features of a layer: n, c, h, w, stride and kernel size k."""
    c_out, c_in = layer.c_out.at(original), layer.c_in.at(original)
    return tuple(map(float, (c_out, c_in, layer.out_h, layer.out_w, layer.stride[0], layer.kernel[0])))


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
        floor: least accuracy on the search split, 0..1, that a policy should have; 0 where none was asked for.
    """

    study: StudyResult
    original: Policy
    budgets: tuple[Budget, ...]
    margin: float
    costs: NetworkCosts
    pruner: Pruner
    bounded: bool = True
    floor: float = 0.0

    def limits(self, latency_share: float) -> tuple[Limit, ...]:
        """Return the budgets as limits, of a latency budget the given share."""
        return budget_limits(self.budgets, self.costs, self.original, latency_share)

    @property
    def latency_budget(self) -> Budget | None:
        """The budget that the device has the last word on."""
        return next((budget for budget in self.budgets if budget.metric == "latency_ms"), None)


def budget_limits(
    budgets: Sequence[Budget], costs: NetworkCosts, original: Policy, latency_share: float
) -> tuple[Limit, ...]:
    """Return budgets as limits, of a latency budget the given share."""
    limits = []
    for budget in budgets:
        cost = costs.of(budget.metric)
        share = latency_share if budget.metric == "latency_ms" else 1.0
        limits.append(Limit(cost, share * budget.target(cost(original))))
    return tuple(limits)


def make_pruner(trained: TrainedModel, seed: int, importance: str = "reconstruction") -> Pruner:
    """Gather the statistics for reconstruction from images of the training split."""
    macs = trained.network.macs(trained.network.original)
    fitting = CALIBRATION_BYTES // (4 * math.prod(trained.data.image_size))
    count = min(MOST_CALIBRATION, max(LEAST_CALIBRATION, int(CALIBRATION_MACS / macs)), max(BATCH, fitting))
    images, labels = trained.data.train.first(count, seed, trained.compute)
    return Pruner(trained.start, trained.network, images, labels=labels, importance=importance)


def search(
    run: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    costs: NetworkCosts,
    score: Callable[[nn.Module], float],
    table_error: float,
    progress: Progress,
) -> Search:
    """Search a policy, or go on where the run's log ends.

    Args:
        run: the run folder.
        config: its settings.
        trained: the network.
        costs: what policies cost.
        score: accuracy of a pruned network, 0..1, on images of the training set.
        table_error: mean prediction error of the latency table, a fraction; a latency budget is searched that
            much below the target (1 % at most), so that the first candidate mostly fits when it is measured.
        progress: is told how far the work is.

    Raises:
        UsageError: the original network itself is under the accuracy's floor, or the agent to begin with is of
            another network.
    """
    budgets, reward = parse_budgets(config), find_reward(config.reward, config.accuracy_floor)
    margin, original = min(table_error, LARGEST_MARGIN), trained.network.original
    main, *others = budget_limits(budgets, costs, original, 1 - margin)
    cost, limit = main.cost, main.most
    if config.accuracy_floor is not None:
        accuracy = score(trained.model)
        if accuracy < config.accuracy_floor:
            raise UsageError(
                f"the original network's accuracy on the search split is {accuracy:.2%}, under the floor of "
                f"{config.accuracy_floor:.2%}; give a lower accuracy_floor=."
            )
        reward = with_floor(reward, config.accuracy_floor, cost(original))
    space = SearchSpace(search_steps(trained), cost, limit if reward.needs_budget else None, others)
    progress("gathering statistics for reconstruction")
    pruner = make_pruner(trained, config.seed, config.importance)
    dropping = None
    if isinstance(score, PartScorer) and reward.needs_budget:  # then the most accurate policies are the best
        dropping = EarlyDropping(score, space, pruner.pruned, trained.start, CANDIDATES, progress)
    agent = agent_file(run, config)
    strategy = build_strategy(
        config.strategy,
        space,
        seed=config.seed,
        episodes=config.episodes,
        importance=pruner.channel_importance() if config.strategy in WEIGH_CHANNELS else None,
        agent=agent,
    )
    keep_first_agent(run, agent)
    with episode_events(run, cost, original) as write_events:

        def told(done: int, total: int, study: StudyResult) -> None:
            write_events(study)
            progress("searching", done, total, describe(study, cost, original))

        study = run_study(
            strategy,
            cost,
            lambda policy: score(pruner.pruned(policy)) if dropping is None else dropping(policy),
            reward,
            config.episodes,
            run.episodes.path,
            settings={
                "strategy": config.strategy,
                "reward": config.reward,
                **({} if config.accuracy_floor is None else {"accuracy_floor": config.accuracy_floor}),
                "seed": config.seed,
                "episodes": config.episodes,
                "metric": config.metric,
                "limit": limit,
                "original": cost(original),
                **({"limits": {each.cost.metric: each.most for each in others}} if others else {}),
                "lower": config.lower,
                "multiple": config.multiple,
                **({} if dropping is None else {"images": dropping.images}),
            },
            metrics={
                "latency_ms": costs.latency_ms,
                "macs": costs.macs,
                "params": costs.params,
                "size_bytes": costs.size_bytes,
            },
            load=None if space.bounds is None else space.load,
            recall=None if dropping is None else dropping.recall,
            progress=told,
            enough=CANDIDATES,
            settled=SETTLED,
        )
    if (done := len(study.episodes)) < config.episodes:
        progress("searching", done, done, f"ended after {done} of {config.episodes} episodes: {study.ended}")
    keep_agent(run, strategy, space)
    return Search(study, original, budgets, margin, costs, pruner, reward.needs_budget, config.accuracy_floor or 0.0)


def chosen_policy(
    trained: TrainedModel,
    costs: NetworkCosts,
    chosen: Candidate,
    candidates: list[Candidate],
    episodes: int,
    warnings: Sequence[str] = (),
) -> ChosenPolicy:
    """Return what is kept of a search: the chosen channels, what each group costs, and what was measured.

    A policy that was not measured is marked ``unverified``; ``warnings`` say what else its reader should know.
    """
    original = trained.network.original
    return ChosenPolicy(
        episodes=episodes,
        channels=chosen.channels,
        original_channels=dict(original),
        predicted_ms=chosen.predicted_ms,
        measured_ms=chosen.measured_ms,
        unverified=chosen.measured_ms is None,
        warnings=list(warnings),
        groups=[
            Group(
                name=name,
                original=original[name],
                kept=chosen.channels[name],
                latency_ms_original=group_latency(costs.latency_ms, name, original),
                latency_ms_kept=group_latency(costs.latency_ms, name, chosen.channels),
            )
            for name in original
        ],
        unprunable=dict(trained.network.unprunable),
        candidates=candidates,
    )


def under_floor(chosen: Candidate, floor: float | None) -> list[str]:
    """Return the sentence for a chosen policy that is less accurate than the floor allows; none where it keeps it."""
    if floor is None or chosen.score >= floor:
        return []
    return [
        f"the policy's accuracy on the search split is {chosen.score:.2%} before fine-tuning, under the floor of "
        f"{floor:.2%}: no policy was found that keeps both the floor and the budget; search longer, or give a "
        "larger budget or a lower floor."
    ]


def group_latency(cost: Cost, group: str, policy: Mapping[str, int]) -> float:
    """Return what the operators that a group touches cost under a policy."""
    return sum(cost.value(index, policy) for index in cost.touching(group))
