"""Runs of one sweep that differ in their budget alone: a later one takes over what does not depend on it.

It is copied into the run's folder before the search, so a run needs the others no more once it has begun.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from amc_hw.budget.bounds import Limit
from amc_hw.errors import RunFolderError
from amc_hw.pipeline.trained import TrainedModel, make_pruner
from amc_hw.policy import Policy, Precision
from amc_hw.pruning.pruner import Pruner
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import write_bytes, write_text
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.shared import Known
from amc_hw.search.rewards import Reward
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Result
from amc_hw.search.study import LEAST_SHARE
from amc_hw.training.state import digest

_LOG = logging.getLogger(__name__)
_Found = TypeVar("_Found")
_OWN = {"budget", "command", "precision", "scored"}
"""What runs of a family may differ in; the precision, and what scores are called, is not known yet when they begin."""


@dataclass
class Family:
    """The runs that a run may take over from, and the network, where this process has it already.

    Attributes:
        folders: of the runs.
        trained: the network of the last run that this process began.
        weights: SHA-256 of the file of its weights.
        pruners: of the network, by what their statistics depend on.
    """

    folders: tuple[Path, ...] = ()
    trained: TrainedModel | None = None
    weights: str = ""
    pruners: dict[tuple[str, int, str], Pruner] = field(default_factory=dict)

    def known_network(self, run: RunFolder) -> TrainedModel | None:
        """Return the network that a run begins with, or was begun with, where this process has it."""
        return self.trained if not run.baseline.exists() or _digest(run) == self.weights else None

    def keep_network(self, run: RunFolder, trained: TrainedModel) -> None:
        """Keep a run's network for the runs to come."""
        self.trained, self.weights = trained, _digest(run)

    def pruner(self, trained: TrainedModel, seed: int, importance: str, *, again: bool = False) -> Pruner:
        """Return what makes the pruned networks; its statistics are gathered once.

        Args:
            trained: the network.
            seed: of the images that they are gathered from.
            importance: of channels, see `amc_hw.pruning.pruner.Pruner`.
            again: it will be asked for again; without other runs it is let go of otherwise, because it is large.
        """
        key = digest(trained.start), seed, importance
        found = self.pruners.pop(key, None) or make_pruner(trained, seed, importance)
        if self.folders or again:
            self.pruners[key] = found
        return found


def take_weights(run: RunFolder, config: RunConfig, folders: Sequence[Path]) -> None:
    """Copy the weights that another run has trained, where this one would train them in the same way.

    Args:
        run: the run folder, which may have begun.
        config: its settings.
        folders: of the runs that it may take over from.
    """
    if config.checkpoint is None and not run.baseline.exists():
        for other in _related(config, folders):
            write_bytes(run.baseline, other.baseline.read_bytes())
            return


def take_over(run: RunFolder, config: RunConfig, folders: Sequence[Path]) -> None:
    """Copy what other runs of the same weights have found.

    That is the original's exported files, what the test set said of them, the images to score on, and the scores.

    Args:
        run: the run folder with its weights. Nothing is taken over where it has episodes.
        config: its settings.
        folders: of the runs that it may take over from.
    """
    if run.episodes.exists():
        return
    weights = _digest(run)
    others = [other for other in _related(config, folders) if _digest(other) == weights]
    for file in [file for other in others for file in (*other.originals, other.sample.path, other.tested.path)]:
        if file.exists() and not (copy := run.path / file.name).exists():
            write_bytes(copy, file.read_bytes())
    if config.rounds:  # later ones choose from other channels
        return
    alike = [other for other in others if _same_sample(run, other)]
    for file, lines in ((run.known.path, _scores), (run.winners.path, _winner)):
        if found := [line.model_dump_json() for other in alike for line in _readable(lines, other)]:
            write_text(file, "".join(f"{line}\n" for line in found))


def episodes_left(episodes: int, known: int) -> int:
    """Return how many episodes a search has that was to have so many, and begins with so many scores of others."""
    return max(-(-episodes // LEAST_SHARE), episodes - known)


def known_scores(
    run: RunFolder, precision: Precision, space: SearchSpace, reward: Reward
) -> list[tuple[Policy, Result]]:
    """Return the policies that other runs have scored in a precision, with the rewards that a search is after.

    Args:
        run: the run folder, which keeps them.
        precision: that ships.
        space: what is searched; its limits do not count.
        reward: what accuracy and cost are worth.
    """
    known: dict[tuple[int, ...], tuple[Policy, Result]] = {}
    for each in run.known.read():
        if each.precision == precision and all(each.channels.get(step.group) in step.choices for step in space.steps):
            policy = {step.group: each.channels[step.group] for step in space.steps}
            cost = space.cost(policy)
            result = Result(each.accuracy, reward(each.accuracy, cost, space.cost.metric), cost)
            known.setdefault(tuple(policy.values()), (policy, result))
    return list(known.values())


def nearest_winner(run: RunFolder, trained: TrainedModel, limits: Sequence[Limit]) -> Policy | None:
    """Return what was best after a short fine-tune in the run whose budget is nearest; None where nobody knows."""

    def distance(policy: Policy) -> float:
        return abs(math.log(max(limit.share_used(policy) for limit in limits)))

    choices = trained.decisions
    winners = [each for each in run.winners.read() if each.precision == trained.precision]
    policies = [{group: each.channels.get(group, -1) for group in choices} for each in winners]
    fit = [each for each in policies if all(count in choices[group] for group, count in each.items())]
    return min(fit, key=distance, default=None)


def _related(config: RunConfig, folders: Sequence[Path]) -> list[RunFolder]:
    """Return the runs of the same settings and libraries but for the budget that have chosen a policy.

    One that is still searching is left out, so that it does not matter how far it is.
    """
    exclude = _OWN | ({"image_size"} if config.image_size is None else set())
    wanted = config.model_dump(exclude=exclude)
    chosen = [run for run in map(RunFolder, folders) if run.policy.exists() and run.baseline.exists()]
    read = [(run, found) for run in chosen for found in _readable(lambda run: [read_config(run.path)], run)]
    return [run for run, found in read if found.model_dump(exclude=exclude) == wanted]


def _readable(read: Callable[[RunFolder], list[_Found]], other: RunFolder) -> list[_Found]:
    """Return what is read of another run; nothing, and why, where that is damaged: it is told as an error there."""
    try:
        return read(other)
    except RunFolderError as error:
        _LOG.warning("nothing is taken over from it: %s", error)
        return []


def _digest(run: RunFolder) -> str:
    return hashlib.sha256(run.baseline.read_bytes()).hexdigest()


def _same_sample(run: RunFolder, other: RunFolder) -> bool:
    files = [each.sample.path for each in (run, other)]
    here, there = (file.read_bytes() if file.exists() else b"" for file in files)
    return here == there


def _scores(other: RunFolder) -> list[Known]:
    """Return the scores of a run."""
    precision, episodes = read_config(other.path).known_precision, other.episodes.read(mend=False).episodes
    return [Known(channels=each.channels, accuracy=each.accuracy, precision=precision) for each in episodes]


def _winner(other: RunFolder) -> list[Known]:
    """Return the policy of a run that was best after a short fine-tune, alone; none where there was no comparison."""
    precision, tuned = read_config(other.path).known_precision, other.shortlist.read()
    best = sorted(tuned, key=lambda each: -each.score)[:1]
    return [Known(channels=each.channels, accuracy=each.score, precision=precision) for each in best]
