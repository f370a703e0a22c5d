"""Whether the reward chooses well: accuracy before fine-tuning against accuracy after it, of a search's best policies.

    amc-hw compress --model resnet20 --checkpoint resnet20.pt --data npz:DIR --latency 0.5x --run runs/r20
    python benchmarks/reward_quality.py --run runs/r20 --epochs 6 --out reward-r20

The best policies of a run's episodes that keep its budget are refitted thoroughly and fine-tuned alike, each as a run
fine-tunes its choice, and so is the one that the run's short fine-tunes put first. Prints a line for each (on the
validation split before, as the search scored it, as refitted, and after a short fine-tune; on the test set after, as it
ships), Spearman's rank correlation of each with the last over all of them and over the better half, and the choice
beside the best. `--out` keeps what is finished, so that the same command goes on.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from named_network import require_same, run_program
from scipy.stats import spearmanr

from amc_hw.cli.terminal import progress_bar
from amc_hw.errors import UsageError
from amc_hw.pipeline.begin import open_trained
from amc_hw.pipeline.shortlist import short_finetune
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


@dataclass(frozen=True)
class Scores:
    """What a policy is worth, 0..1: on the validation split as refitted and tuned for a moment, on the test set after.

    Attributes:
        refitted: after the thorough fit alone.
        short: after a short fine-tune, as a run compares its candidates.
        after: after fine-tuning, on the test set.
    """

    refitted: float
    short: float
    after: float


class Finetuned:
    """What policies come to after fine-tuning; what is known is kept in a folder."""

    def __init__(self, config: RunConfig, trained: TrainedModel, epochs: int, out: Path) -> None:
        self.config, self.trained, self.epochs, self.out = config, trained, epochs, out
        self.pruner = make_pruner(trained, config.seed, config.importance)

    def __call__(self, policy: Policy) -> Scores:
        name = hashlib.sha256(json.dumps(sorted(policy.items())).encode()).hexdigest()[:16]
        file = self.out / f"{name}.json"
        if not file.exists():
            scores = self._scores(policy, self.out / f"{name}-state.pt")
            write_json(file, {"channels": dict(policy), "scores": asdict(scores)})
        return Scores(**read_json(file)["scores"])

    def _scores(self, policy: Policy, state: Path) -> Scores:
        model, task, seed = self.pruner.pruned(policy, thorough=True), self.trained.task, self.config.seed
        refitted = task.validate(self.trained.as_shipped(model))
        with progress_bar() as progress:
            tuned = copy.deepcopy(model)
            short = short_finetune(tuned, self.trained, seed, progress)
            if short is None:  # the task has to be asked for it
                short = task.validate(self.trained.as_shipped(tuned))
            how = Finetuning(self.epochs, seed, task.training_images >= SMALL, progress, state)
            task.finetune(self.trained.as_shipped(model), self.trained.model, how)
        return Scores(refitted, short, task.test(self.trained.as_shipped(model)))


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


def verdict(before: Sequence[float], found: Sequence[Scores], chosen: Scores) -> str:
    """Return what the scores say.

    Args:
        before: of the search, from the best one on.
        found: what the policies came to.
        chosen: what the choice came to.
    """
    after, half = [each.after for each in found], (len(before) + 1) // 2
    ways = {
        "before": before,
        "as refitted": [each.refitted for each in found],
        "after a short fine-tune": [each.short for each in found],
    }
    better = sum(each > chosen.after for each in after)
    return "\n".join(
        [
            f"rank correlation with what comes after, {len(before)} policies; the better {half} by the search:",
            *(
                f"{name}: {correlation(each, after)}; {correlation(each[:half], after[:half])}"
                for name, each in ways.items()
            ),
            f"the choice after short fine-tunes: {chosen.after:.2%}, the best of the {len(after)}: {max(after):.2%}; "
            f"{better} of them are better than the choice",
            *(f"the first {name}: {after[int(np.argmax(each))]:.2%}" for name, each in ways.items()),
        ]
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
    finetuned, found = Finetuned(config, trained, arguments.epochs, arguments.out), list[Scores]()
    print("| place before | before | refitted | short fine-tune | after |\n|---|---|---|---|---|", flush=True)
    for place, episode in enumerate(episodes, start=1):
        each = finetuned(episode.channels)
        found.append(each)
        row = f"{episode.accuracy:.2%} | {each.refitted:.2%} | {each.short:.2%} | {each.after:.2%}"
        print(f"| {place} | {row} |", flush=True)
    print(verdict([each.accuracy for each in episodes], found, finetuned(choice(run, episodes[0]))))


if __name__ == "__main__":
    run_program(main)
