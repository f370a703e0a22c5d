"""AMC's way (arXiv:1802.03494) as its released code goes it, faults included.

The agent is paid for the accuracy within a budget of MACs. The bound of an action comes before the rounding, which is
up, to multiples of 8, so budgets are overshot; the replay holds what the actor wished; every group keeps a fifth of
its channels, those whose readers have the largest weights; layers of 1x1 kernels alone are fitted, to the original's
inputs; every policy is scored on all images of the split, and the best one is taken. Channel groups are ours, because
the released code has rules for the layers of a few networks only; so is the warm-up of short searches.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from layer_rows import gather_rows
from torch import Tensor, nn
from ways import Bench, Tried, moved

from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import macs_cost
from amc_hw.cli.terminal import progress_bar
from amc_hw.pipeline.steps import search_steps
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.pruning.importance import Consumer, consumers
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.surgery import shrink
from amc_hw.search.ddpg import Hyperparameters
from amc_hw.search.ddpg_strategies import DdpgStrategy
from amc_hw.search.rewards import find_reward
from amc_hw.search.space import Rollout, SearchSpace, Step
from amc_hw.search.study import FunctionScorer, Problem, StudyResult, run_study
from amc_hw.training.evaluation import evaluate

POINTS = 10  # of an image and layer that AMC's code looks at
CALIBRATION_IMAGES = 640
MULTIPLE, LOWER = 8, 0.2


class Fresh:
    """Scores a policy as AMC's official code does; the rows of the least squares are gathered once, as there.

    Weights are set to zero, not cut out. The fit is to the original's inputs.

    Args:
        trained: the network.
        images: training images (N, C, H, W) that give the rows.
        pointwise: fit layers of 1x1 kernels only, as AMC's code does; else all of them.
    """

    def __init__(self, trained: TrainedModel, images: Tensor, *, pointwise: bool = False) -> None:
        self.trained = trained
        modules = dict(trained.model.named_modules())
        groups = trained.network.groups
        magnitude = Pruner(trained.model, trained.network, images[:1], importance="magnitude", reconstruction="none")
        self.kept = magnitude.kept
        self.readers = [(group.name, reader) for group in groups for reader in consumers(group, modules)]
        fitted = [reader for _, reader in self.readers if not pointwise or _is_pointwise(reader.layer)]
        self.rows = gather_rows(trained.model, dict.fromkeys(reader.name for reader in fitted), images, POINTS)

    def __call__(self, policy: Policy) -> float:
        return evaluate(self.masked(policy), self.trained.data.search)

    def masked(self, policy: Policy) -> nn.Module:
        """Return the network with zeros for what goes, and fitted."""
        model, kept = copy.deepcopy(self.trained.model), self.kept(policy)
        modules = dict(model.named_modules())
        for group, reader in self.readers:
            self._refit(modules[reader.name], reader, kept[group])
        return model

    def small(self, policy: Policy) -> nn.Module:
        """Return the network without what goes."""
        return shrink(self.masked(policy), self.trained.network, self.kept(policy)).eval()

    def _refit(self, layer: nn.Module, reader: Consumer, kept: list[int]) -> None:
        columns, rows = reader.columns[kept].flatten(), self.rows.get(reader.name)
        weight = layer.get_parameter("weight").data.flatten(1)
        lost = torch.ones(weight.shape[1], dtype=torch.bool)
        lost[reader.columns.flatten()] = True
        lost[columns] = False
        if rows is not None:
            fitted = torch.linalg.lstsq(rows[:, columns], rows @ weight.T).solution
            weight[:, columns] = fitted.T
        weight[:, lost] = 0


def _is_pointwise(layer: nn.Module) -> bool:
    return layer.get_parameter("weight")[0, 0].numel() == 1


class AmcSpace(SearchSpace):
    """The steps of a search whose episodes are `RoundedUp`; the budget bounds no other.

    Args:
        steps: in network order.
        macs: the cost.
        most: the budget, in MACs.
    """

    def __init__(self, steps: list[Step], macs: Cost, most: float) -> None:
        super().__init__(steps, macs)
        self.most = most

    def rollout(self) -> Rollout:
        return RoundedUp(self)


class RoundedUp(Rollout):
    """An episode that keeps its budget before channels are rounded up, and tells what was wished."""

    space: AmcSpace

    def decide(self, action: float) -> float:
        step, *later = self.space.steps[len(self.policy) :]
        least = {each.group: max(1, round(LOWER * each.choices[-1])) for each in (step, *later)}
        whole = step.choices[-1]

        def fits(channels: int) -> bool:
            return self.space.cost({**least, **self.policy, step.group: channels}) <= self.space.most

        wished = range(round(action * whole), least[step.group], -1)
        bounded = next((channels for channels in wished if fits(channels)), least[step.group])
        self.policy[step.group] = min(whole, MULTIPLE * math.ceil(bounded / MULTIPLE))
        self._last_ratio = self.policy[step.group] / whole
        return action


class AmcSearch:
    """AMC's searches of one network with one seed; their logs do not depend on any latency.

    Args:
        bench: the network.
        seed: of the agent, and of the images that layers are fitted to.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed = bench, seed
        self.fresh = Fresh(bench.trained, bench.trained.task.statistics(CALIBRATION_IMAGES, seed)[0], pointwise=True)

    def study(self, share: float) -> StudyResult:
        """Search within a share of the MACs, or go on."""
        trained, episodes = self.bench.trained, self.bench.arguments.episodes
        macs = macs_cost(trained.network)
        space = AmcSpace(search_steps(trained), macs, share * macs(trained.network.original))
        warmup = min(Hyperparameters.warmup, episodes // 4)
        strategy = DdpgStrategy(space, self.seed, Hyperparameters(warmup=warmup))
        strategy.uniform = None  # all of AMC's first episodes are random
        settings = {"seed": self.seed, "episodes": episodes, "most": space.most}
        problem = Problem(space, find_reward("resource"), episodes, settings)
        log = self.bench.out / "amc-searches" / f"{share:.4f}x-seed{self.seed}.jsonl"
        with progress_bar() as progress:

            def watch(done: int, total: int, study: StudyResult) -> None:
                progress("AMC's search", done, total, f"best {study.best.accuracy:.2%}")

            return run_study(problem, strategy, FunctionScorer(self.fresh), log, watch)

    def network(self, share: float) -> nn.Module:
        """Return the network of the best policy within a share of the MACs."""
        return self.fresh.small(self.study(share).best.channels)


def by_amc(bench: Bench, budget: float, stem: Path, seed: int, *, tightened: bool) -> nn.Module:
    """Search within a budget of MACs, and fine-tune.

    Args:
        bench: the network.
        budget: share of the latency; the MACs may be that share, of what the original takes in the file's precision.
        stem: what is kept on the way has names that begin so.
        seed: of the search and the fine-tuning.
        tightened: move the share of the MACs until the file keeps the budget; else it takes as long as it happens to.
    """
    search = AmcSearch(bench, seed)
    share = min(1.0, budget / bench.alone)
    if tightened:
        tried = Tried(
            stem.with_name(f"{stem.name}-tried.json"), lambda share: bench.used(search.network(share), budget)
        )
        share = moved(share, tried)
    return bench.finetuned(search.network(share), seed, stem.with_name(f"{stem.name}-state.pt"))
