"""Whether the reward chooses well: accuracy before fine-tuning against accuracy after it, of a search's best policies.

    amc-hw compress --model resnet20 --checkpoint resnet20.pt --data npz:DIR --latency 0.5x --run runs/r20
    python benchmarks/reward_quality.py --run runs/r20 --epochs 6 --out reward-r20

The best policies of a run's episodes that keep its budget are refitted thoroughly and fine-tuned alike, each as a run
fine-tunes its choice, and so is the one that the run's short fine-tunes put first. Prints a line for each (before: on
the validation split, as the search scored it; after: on the test set, as it ships), Spearman's rank correlation of the
two over all of them and over the better half, and the choice beside the best. `--out` keeps what is finished, so that
the same command goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from named_network import require_same, run_program
from scipy.stats import spearmanr

from amc_hw.cli.terminal import progress_bar
from amc_hw.errors import UsageError
from amc_hw.pipeline.begin import open_trained
from amc_hw.pipeline.trained import TrainedModel, make_pruner
from amc_hw.policy import Policy
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import read_json, write_json
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import Episode
from amc_hw.search.study import LEAST_REWARD, read_study
from amc_hw.tasks.goal import Finetuning
from amc_hw.training.recipe import SMALL

FEWEST = 4
"""Policies: of fewer, a rank correlation tells nothing."""


class Finetuned:
    """Accuracy of policies after fine-tuning, 0..1 on the test set; what is known is kept in a folder."""

    def __init__(self, config: RunConfig, trained: TrainedModel, epochs: int, out: Path) -> None:
        self.config, self.trained, self.epochs, self.out = config, trained, epochs, out
        self.pruner = make_pruner(trained, config.seed, config.importance)

    def __call__(self, policy: Policy) -> float:
        name = hashlib.sha256(json.dumps(sorted(policy.items())).encode()).hexdigest()[:16]
        file = self.out / f"{name}.json"
        if not file.exists():
            after = self._accuracy(policy, self.out / f"{name}-state.pt")
            write_json(file, {"channels": dict(policy), "after": after})
        return float(read_json(file)["after"])

    def _accuracy(self, policy: Policy, state: Path) -> float:
        model, task = self.pruner.pruned(policy, thorough=True), self.trained.task
        with progress_bar() as progress:
            how = Finetuning(self.epochs, self.config.seed, task.training_images >= SMALL, progress, state)
            task.finetune(self.trained.as_shipped(model), self.trained.model, how)
        return task.test(self.trained.as_shipped(model))


def best_episodes(run: RunFolder, count: int) -> list[Episode]:
    """Return the best episodes with different policies that keep the budget; raise UsageError where there are few."""
    study = read_study(run.episodes.path)
    found = [each for each in study.top(len(study.episodes)) if each.reward >= LEAST_REWARD][:count]
    if len(found) < FEWEST:
        raise UsageError(f"{len(found)} policies are too few to rank; search more of them with --episodes.")
    return found


def choice(run: RunFolder, best: Episode) -> Policy:
    """Return the policy that the run's short fine-tunes put first; the search's best where there were none."""
    contenders = run.shortlist.read()
    return max(contenders, key=lambda each: each.score).channels if contenders else best.channels


def correlation(before: Sequence[float], after: Sequence[float]) -> str:
    """Return Spearman's rank correlation in words."""
    if np.ptp(before) == 0 or np.ptp(after) == 0:
        return "undefined, because all are alike"
    return f"{spearmanr(before, after).statistic:.2f}"


def verdict(before: Sequence[float], after: Sequence[float], chosen: float) -> str:
    """Return what the accuracies say, those before from the best one on; ``chosen`` is the choice's after."""
    half = (len(before) + 1) // 2
    better = sum(each > chosen for each in after)
    return (
        f"rank correlation of before and after, {len(before)} policies: {correlation(before, after)}; "
        f"the better {half} by the score before: {correlation(before[:half], after[:half])}\n"
        f"the choice after short fine-tunes: {chosen:.2%}, the best of the {len(after)}: {max(after):.2%}; "
        f"{better} of them are better than the choice; the first by the score before: {after[0]:.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run whose search is finished")
    parser.add_argument("--best", type=int, default=20, help="policies to fine-tune")
    parser.add_argument("--epochs", type=int, default=6, help="of each")
    parser.add_argument("--out", type=Path, default=Path("reward-quality"))
    arguments = parser.parse_args()
    config, trained = open_trained(arguments.run)
    run = RunFolder(arguments.run)
    episodes = best_episodes(run, arguments.best)
    require_same(arguments.out, {"run": str(arguments.run.resolve()), "epochs": arguments.epochs})
    finetuned, after = Finetuned(config, trained, arguments.epochs, arguments.out), list[float]()
    print("| place before | before | after |\n|---|---|---|", flush=True)
    for place, episode in enumerate(episodes, start=1):
        after.append(finetuned(episode.channels))
        print(f"| {place} | {episode.accuracy:.2%} | {after[-1]:.2%} |", flush=True)
    print(verdict([each.accuracy for each in episodes], after, finetuned(choice(run, episodes[0]))))


if __name__ == "__main__":
    run_program(main)
