"""What each strategy finds in as many episodes, on one network, with the same scores, budget and seeds.

    python benchmarks/search_quality.py --model resnet20 --checkpoint resnet20.th --data npz:CIFAR10 --macs 0.5x \\
        --strategies auto,ddpg,greedy,knapsack,uniform,random --seeds 3 --episodes 120 --out quality

Prints a line for each strategy and seed: share of the budget used, accuracy of the best policy on the search split and
on the test set, after a short fine-tune on both, and the seconds of the search. Episodes are kept in --out, so that a
stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from amc_hw.budget import parse_budget
from amc_hw.data import Data
from amc_hw.finetune import evaluate
from amc_hw.latency.bounds import Limit
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.search.rewards import find_reward
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import build_strategy
from amc_hw.search.study import StudyResult, run_study
from amc_hw.stages.costs import macs_cost
from amc_hw.stages.scoring import EarlyDropping, PartScorer
from amc_hw.stages.search import CANDIDATES, make_pruner, search_steps
from amc_hw.stages.shortlist import short_finetune
from amc_hw.stages.subject import load_model_and_data, make_subject


class Bench:
    """One network with its budget; every strategy sees the same scores."""

    def __init__(self, arguments: Any) -> None:
        model, data = load_model_and_data(arguments.model, arguments.data, arguments.data_root)
        load_checkpoint(model, arguments.checkpoint)
        self.subject, self.out = make_subject(model, data), arguments.out
        macs = macs_cost(self.subject.network)
        budget = parse_budget("macs", arguments.macs)
        self.limit = Limit(macs, budget.target(macs(self.subject.network.original)))
        self.space = SearchSpace(search_steps(self.subject), macs, self.limit.most)
        self.pruner = make_pruner(self.subject, seed=0)
        self.importance = self.pruner.channel_importance()

    @property
    def data(self) -> Data:
        return self.subject.data

    def search(self, name: str, seed: int, episodes: int) -> StudyResult:
        scorer = PartScorer(self.data.search)
        dropping = EarlyDropping(scorer, self.pruner.pruned, CANDIDATES, self.space.keeps)
        return run_study(
            build_strategy(name, self.space, seed=seed, episodes=episodes, importance=self.importance),
            self.limit.cost,
            dropping,
            find_reward("resource"),
            episodes,
            self.out / f"{name}-{seed}.jsonl",
            {"strategy": name, "seed": seed, "episodes": episodes, "limit": self.limit.most},
            load=self.space.load,
            recall=dropping.recall,
        )

    def finetuned(self, policy: Any, seed: int) -> tuple[float, float, float]:
        """Return the test accuracy before, and the search and test accuracies after a short fine-tune."""
        model = self.pruner.pruned(policy, thorough=True)
        before = evaluate(model, self.data.test)
        learned = short_finetune(model, self.subject, seed)
        return before, learned, evaluate(model, self.data.test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--macs", default="0.5x")
    parser.add_argument("--strategies", default="auto,ddpg,greedy,knapsack,uniform,random")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("search-quality"))
    arguments = parser.parse_args()
    bench = Bench(arguments)
    print("strategy seed  used  search  test | after a short fine-tune: search  test | seconds")
    for name in arguments.strategies.split(","):
        for seed in range(arguments.seeds):
            study = bench.search(name, seed, arguments.episodes)
            seconds, best = sum(episode.seconds for episode in study.episodes), study.best
            started = time.perf_counter()
            before, search, test = bench.finetuned(best.policy, seed)
            used = bench.space.load(best.policy)
            print(
                f"{name:9s} {seed:3d}  {used:.3f}  {best.accuracy:.4f}  {before:.4f} | "
                f"{search:.4f}  {test:.4f} | {seconds:.0f} + {time.perf_counter() - started:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
