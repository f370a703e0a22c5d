"""AMC's way (arXiv:1802.03494), with what its released code does: see docs/deviations.md.

The agent is paid for accuracy within a budget of MACs. Channel counts are multiples of 8, rounded up after the bound,
so that a budget is overshot; the replay holds the actions that the actor wished; no group loses all its channels;
channels are kept by their weights' magnitudes; only 1x1 convolutions and linear layers are fitted; every policy is
scored on all images, and the best one is taken. Channel groups, states and the length of the warm-up are ours.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from layer_rows import gather_rows
from torch import Tensor, nn
from ways import LARGEST_BUDGET, Bench, Tried, moved

from amc_hw.budget.network_costs import macs_cost
from amc_hw.cli.terminal import progress_bar
from amc_hw.pipeline.search import search_steps
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.pruning.importance import Consumer, consumers
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.surgery import shrink
from amc_hw.search.ddpg import Agent, Hyperparameters
from amc_hw.search.rewards import find_reward
from amc_hw.search.space import Rollout, SearchSpace, Step
from amc_hw.search.strategy import Result, Strategy
from amc_hw.search.study import FunctionScorer, Problem, run_study
from amc_hw.training.evaluation import evaluate

POINTS = 10  # of an image and layer that AMC's code looks at
CALIBRATION_IMAGES = 640
MULTIPLE, LOWER = 8, 0.2


class Fresh:
    """Scores a policy as AMC's official code does; the rows of the least squares are gathered once, as there.

    Weights are set to zero, not cut out. The fit is to the original's inputs.

    Args:
        trained: the network.
        images: what its rows are gathered from.
        any_kernel: whether layers of larger kernels than 1x1 are fitted, too.
    """

    def __init__(self, trained: TrainedModel, images: Tensor, *, any_kernel: bool = True) -> None:
        self.trained = trained
        modules = dict(trained.model.named_modules())
        groups = trained.network.groups
        magnitude = Pruner(trained.model, trained.network, images[:1], importance="magnitude", reconstruction="none")
        self.kept = magnitude.kept
        self.readers = [(group.name, reader) for group in groups for reader in consumers(group, modules)]
        names = dict.fromkeys(reader.name for _, reader in self.readers if any_kernel or _is_pointwise(reader.layer))
        self.rows = gather_rows(trained.model, names, images, POINTS)

    def __call__(self, policy: Policy) -> float:
        return evaluate(self.masked(policy), self.trained.data.search)

    def masked(self, policy: Policy) -> nn.Module:
        """Return the network with zeros for what goes, fitted."""
        model, kept = copy.deepcopy(self.trained.model), self.kept(policy)
        modules = dict(model.named_modules())
        for group, reader in self.readers:
            self._refit(modules[reader.name], reader, kept[group])
        return model

    def small(self, policy: Policy) -> nn.Module:
        """Return the network without what goes."""
        return shrink(self.masked(policy), self.trained.network, self.kept(policy)).eval()

    def _refit(self, layer: nn.Module, reader: Consumer, kept: list[int]) -> None:
        columns = reader.columns[kept].flatten()
        weight = layer.get_parameter("weight").data.flatten(1)
        lost = torch.ones(weight.shape[1], dtype=torch.bool)
        lost[reader.columns.flatten()] = True
        lost[columns] = False
        rows = self.rows.get(reader.name)
        fitted = None if rows is None else torch.linalg.lstsq(rows[:, columns], rows @ weight.T).solution
        weight[:, lost] = 0
        if fitted is not None:
            weight[:, columns] = fitted.T


def _is_pointwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or layer.get_parameter("weight")[0, 0].numel() == 1


class RoundedUp(Rollout):
    """Rounds channels up to multiples of 8 after the bound was kept."""

    def decide(self, action: float) -> float:
        step = self.space.steps[len(self.policy)]
        super().decide(action)
        channels = step.choices[-1]
        self.policy[step.group] = min(channels, MULTIPLE * math.ceil(self.policy[step.group] / MULTIPLE))
        self._last_ratio = self.policy[step.group] / channels
        return self._last_ratio


class OvershotSpace(SearchSpace):
    """Every count of channels may be bound; one step after the budget was overshot, the fewest are left."""

    def feasible(self, chosen: Policy, t: int) -> tuple[int, ...]:
        return super().feasible(chosen, t) or self.steps[t].choices[:1]

    def rollout(self) -> Rollout:
        return RoundedUp(self)


class AmcStrategy(Strategy):
    """AMC's search: random episodes, then learning from the actions that the actor wished."""

    def __init__(self, space: SearchSpace, seed: int, episodes: int) -> None:
        self.space = space
        parameters = Hyperparameters(warmup=min(Hyperparameters.warmup, episodes // 4))
        self.agent = Agent(space.state_size, len(space.steps), seed, parameters)
        self.episode = 0

    def ask(self) -> Policy:
        rollout = self.space.rollout()
        self.states, self.wished = [rollout.state()], []
        while not rollout.done:
            self.wished.append(self.agent.act(self.states[-1], self.episode))
            rollout.decide(self.wished[-1])
            self.states.append(rollout.state())
        return rollout.policy

    def tell(self, policy: Policy, result: Result) -> None:
        self.agent.learn(self.states, self.wished, result.reward, self.episode)
        self.episode += 1


def searched(trained: TrainedModel, fresh: Fresh, ratio: float, log: Path, seed: int, episodes: int) -> Policy:
    """Return the best policy of a search for a share of the MACs; a log goes on where it ends."""
    cost, original = macs_cost(trained.network), trained.network.original
    steps = [
        Step(each.group, tuple(range(math.ceil(LOWER * each.choices[-1]), each.choices[-1] + 1)), each.features)
        for each in search_steps(trained)
    ]
    bounded = OvershotSpace(steps, cost, ratio * cost(original))
    settings = {"strategy": "amc", "seed": seed, "episodes": episodes, "ratio": ratio}
    unbounded = SearchSpace(steps, cost)  # what overshoots its budget is no worse for that
    problem = Problem(unbounded, find_reward("resource"), episodes, settings)
    with progress_bar() as progress:
        strategy = AmcStrategy(bounded, seed, episodes)
        study = run_study(
            problem,
            strategy,
            FunctionScorer(fresh),
            log,
            lambda done, total, _: progress(f"AMC's way, {ratio:.3f}x of the MACs", done, total),
        )
    return study.best.channels


def as_amc(bench: Bench, budget: float, stem: Path, seed: int, *, tightened: bool = True) -> nn.Module:
    """Search by MACs, with fewer of them until the file is fast enough, or as it is; return the pruned network.

    Args:
        bench: the network.
        budget: share of what the float32 original takes.
        stem: what is kept on the way has names that begin with it.
        seed: of the searches.
        tightened: the latency has to hold; else the first search's stays, whatever it takes.
    """
    trained, episodes = bench.trained, bench.arguments.episodes
    fresh = Fresh(trained, trained.data.train.first(CALIBRATION_IMAGES, 0)[0], any_kernel=False)

    def found(ratio: float) -> nn.Module:
        log = stem.with_name(f"{stem.name}-by-{ratio:.4f}x.jsonl")
        return fresh.small(searched(trained, fresh, ratio, log, seed, episodes))

    tried = Tried(lambda ratio: bench.used(found(ratio), budget), stem.with_name(f"{stem.name}-tried.json"))
    first = min(LARGEST_BUDGET, budget / bench.alone())
    return found(moved(first, tried) if tightened else first)
