"""Whether the reward of a search chooses well: its score before fine-tuning against the accuracy after it.

    amc-hw compress --model resnet20 --checkpoint resnet20.pt --data npz:DIR --latency 0.5x --run runs/half
    python benchmarks/reward_choice.py runs/half --epochs 3

Takes the best different policies within the limits that a finished search scored, and what its shortlist chose, and
fine-tunes all of them equally, as many epochs of the same images in the same order, with the original as the teacher.
Prints score and accuracy on the test set of each, the rank correlation of the two (Spearman's), and what the shortlist
chose against the best of them. Of a policy that was dropped early, the score is from a part of the sample. What is
fine-tuned is kept in the run folder, so that the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.stats import spearmanr

from amc_hw.cli.terminal import progress_bar
from amc_hw.errors import AmcHwError, UsageError
from amc_hw.pipeline.begin import open_trained
from amc_hw.pipeline.trained import TrainedModel, make_pruner
from amc_hw.policy import Policy
from amc_hw.pruning.pruner import Pruner
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.record_files import LinesFile
from amc_hw.runs.records import Contender, Episode
from amc_hw.search.study import LEAST_REWARD, read_study
from amc_hw.tasks.goal import Finetuning
from amc_hw.training.evaluation import evaluate
from amc_hw.training.recipe import SMALL


class Equally:
    """Fine-tunes policies of a run, each by the same call; knows those of an earlier call."""

    def __init__(self, run: Path, epochs: int) -> None:
        self.config: RunConfig
        self.trained: TrainedModel
        self.config, self.trained = open_trained(run)
        self.epochs, self.file = epochs, run / "reward-choice" / f"epochs-{epochs}.jsonl"
        self.file.parent.mkdir(exist_ok=True)
        self.log = LinesFile(self.file, Contender)
        self.known = {tuple(each.channels.items()): each.score for each in self.log.read()}
        self.pruner: Pruner | None = None

    def accuracy(self, policy: Policy) -> float:
        """Return a policy's accuracy on the test set after fine-tuning, a fraction."""
        key = tuple(policy.items())
        if key not in self.known:
            self.known[key] = self._tuned(policy)
            self.log.append(Contender(channels=dict(policy), score=self.known[key]))
        return self.known[key]

    def _tuned(self, policy: Policy) -> float:
        trained, seed = self.trained, self.config.seed
        if self.pruner is None:
            self.pruner = make_pruner(trained, seed, self.config.importance)
        learner = trained.as_shipped(self.pruner.pruned(policy, thorough=True))
        state = self.file.with_name(f"{self.file.stem}-{len(self.known)}.pt")
        with progress_bar() as progress:
            learn_search = trained.task.training_images >= SMALL
            how = Finetuning(self.epochs, seed, learn_search, progress, state)
            trained.task.finetune(learner, trained.model, how)
        accuracy = evaluate(learner.eval(), trained.data.test)
        state.unlink(missing_ok=True)
        return accuracy


def best_episodes(run: RunFolder, count: int) -> list[Episode]:
    """Return the best episodes of different policies within the limits, the best first."""
    study = read_study(run.episodes.path)
    within = [each for each in study.top(len(study.episodes)) if each.reward >= LEAST_REWARD]
    if len(within) < 3:
        raise UsageError(f"{run} has {len(within)} different policies within its limits; search longer.")
    return within[:count]


def verdict(scores: Sequence[float], accuracies: Sequence[float], chosen: float | None) -> list[str]:
    """Return what the figures say, a sentence each.

    Args:
        scores: before fine-tuning, the best first, fractions.
        accuracies: of the same policies after it.
        chosen: accuracy of what the shortlist chose; None where it had nothing to choose from.
    """
    found, best = spearmanr(scores, accuracies), max(accuracies)
    said = [
        f"rank correlation of {len(scores)}: {found.statistic:.2f} (p = {found.pvalue:.2g})",
        f"best of them: {best:.2%}, number {accuracies.index(best) + 1} by its score; "
        f"best by its score: {accuracies[0]:.2%}",
    ]
    if chosen is not None:
        better = sum(accuracy > chosen for accuracy in accuracies)
        said.append(f"the shortlist's choice: {chosen:.2%}; {better} of {len(scores)} are better")
    return said


def main(arguments: argparse.Namespace) -> None:
    run = RunFolder(arguments.run)
    equally, episodes = Equally(arguments.run, arguments.epochs), best_episodes(run, arguments.policies)
    print("| number | score before | test set after |\n|---|---|---|", flush=True)
    accuracies = []
    for number, episode in enumerate(episodes, start=1):
        accuracies.append(equally.accuracy(episode.channels))
        print(f"| {number} | {episode.accuracy:.2%} | {accuracies[-1]:.2%} |", flush=True)
    shortlisted = run.shortlist.read()
    chosen = max(shortlisted, key=lambda each: each.score).channels if shortlisted else None
    of_shortlist = None if chosen is None else equally.accuracy(chosen)
    print("\n" + "\n".join(verdict([each.accuracy for each in episodes], accuracies, of_shortlist)))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main(read_arguments())
    except AmcHwError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
