"""What each strategy finds in as many episodes, on one network, with the same scores, budget and seeds.

    python benchmarks/search_quality.py --model resnet20 --checkpoint resnet20.th --data npz:CIFAR10 --latency 0.5x \\
        --strategies auto,ddpg,greedy,knapsack,uniform,random --seeds 3 --episodes 120 --out quality

The budget is one of MACs or of latency on this machine; the network's table is made first where there is none. Prints a
line for each strategy and seed: share of the budget used, predicted and measured milliseconds where latency is what
counts (and "measured x", the share of the original's, timed in turns with it), accuracy of the best policy on the
validation split and on the test set, both again after a short fine-tune, and the seconds of the search and of the fine-
tune. In the end mean and spread over the seeds, and how many seconds the first strategy needs to be as good as each
other one in the end. Episodes are kept in --out, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from named_network import named_network, network_parser

from amc_hw.budget.bounds import Limit
from amc_hw.budget.budget import parse_budget
from amc_hw.budget.network_costs import macs_cost
from amc_hw.data.dataset import Data
from amc_hw.devices.registry import open_device
from amc_hw.pipeline.originals import export_originals
from amc_hw.pipeline.search import CANDIDATES
from amc_hw.pipeline.shortlist import short_finetune
from amc_hw.pipeline.steps import search_steps
from amc_hw.pipeline.timed import measure
from amc_hw.pipeline.trained import make_pruner, make_trained_model
from amc_hw.policy import Policy
from amc_hw.profiling.profile import run_cost
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.search.rewards import find_reward
from amc_hw.search.scoring import EarlyDropping, PartScorer
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import build_strategy
from amc_hw.search.study import Problem, StudyResult, run_study
from amc_hw.tracing.traced import PruningChoices
from amc_hw.training.evaluation import evaluate

COLUMNS = (
    *("strategy", "seed", "used", "ms", "measured", "measured x", "split", "test", "tuned split", "tuned test"),
    *("search s", "s"),
)
THREE_DIGITS = ("used", "ms", "measured", "measured x")


class Bench:
    """One network with its budget; every strategy sees the same scores."""

    def __init__(self, arguments: Any) -> None:
        model, data = named_network(arguments)
        allowed = PruningChoices(keep_blocks=arguments.keep_blocks)
        self.trained, self.out = make_trained_model(model, data, allowed), arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.device = open_device("host") if arguments.latency else None
        if self.device is None:
            cost, budget = macs_cost(self.trained.network), parse_budget("macs", arguments.macs)
        else:
            cost, *_ = run_cost(RunFolder(self.out), self.device, self.trained, None, 0, SILENT)
            budget = parse_budget("latency_ms", arguments.latency)
        self.limit = Limit(cost, budget.target(cost(self.trained.network.original)))
        self.space = SearchSpace(search_steps(self.trained), cost, self.limit.most)
        self.pruner = make_pruner(self.trained, seed=0)
        self.importance = self.pruner.channel_importance()

    @property
    def data(self) -> Data:
        return self.trained.data

    def search(self, name: str, seed: int, episodes: int) -> StudyResult:
        scorer = PartScorer(self.data.search)
        dropping = EarlyDropping(scorer, self.space, self.pruner.pruned, self.trained.model, CANDIDATES)
        settings = {"strategy": name, "seed": seed, "episodes": episodes, "limit": self.limit.most}
        problem = Problem(self.space, find_reward("resource"), episodes, settings)
        strategy = build_strategy(name, self.space, seed=seed, episodes=episodes, importance=self.importance)
        return run_study(problem, strategy, dropping, self.out / f"{name}-{seed}.jsonl")

    def row(self, name: str, seed: int, study: StudyResult) -> dict[str, float]:
        """Return what the best policy of a search is worth."""
        started, policy = time.perf_counter(), study.best.channels
        model = self.pruner.pruned(policy, thorough=True)
        test = evaluate(model, self.data.test)
        measured = (float("nan"),) * 2 if self.device is None else self._measured(policy)
        tuned = short_finetune(model, self.trained, seed)
        return {
            "used": self.space.share_used(policy),
            "ms": float("nan") if self.device is None else self.limit.cost(policy),
            "measured": measured[0],
            "measured x": measured[0] / measured[1],
            "split": 100 * study.best.accuracy,
            "test": 100 * test,
            "tuned split": 100 * tuned,
            "tuned test": 100 * evaluate(model, self.data.test),
            "search s": sum(episode.seconds for episode in study.episodes),
            "s": time.perf_counter() - started,
        }

    def _measured(self, policy: Policy) -> tuple[float, float]:
        """Return the milliseconds of a policy's network and of the original."""
        assert self.device is not None
        export_originals(RunFolder(self.out), self.trained, self.device, SILENT)
        timings = measure(RunFolder(self.out), self.trained, self.pruner.pruned(policy), self.device)
        return timings["candidate"].latency_ms, timings["original"].latency_ms


def seconds_until(study: StudyResult, space: SearchSpace, accuracy: float) -> float:
    """Return how long a search took until a policy within the budget was as accurate; infinity where none was."""
    good = [
        number for number, each in enumerate(study.episodes) if each.accuracy >= accuracy and space.keeps(each.channels)
    ]
    return sum(each.seconds for each in study.episodes[: good[0] + 1]) if good else float("inf")


def print_race(studies: Mapping[str, list[StudyResult]], space: SearchSpace) -> None:
    """Print when the first strategy was as good as each of the others came to be, and when these were."""
    first, *others = studies
    for name in others:
        ends = [study.best.accuracy for study in studies[name]]
        pairs = [
            [f"{seconds_until(study, space, end):.0f}" for study, end in zip(studies[racer], ends, strict=True)]
            for racer in (first, name)
        ]
        print(
            f"as good as {name} in the end: {first} after {', '.join(pairs[0])} s, {name} after {', '.join(pairs[1])} s"
        )


def line(name: str, seed: str, row: Mapping[str, float]) -> str:
    numbers = (f"{row[column]:.3f}" if column in THREE_DIGITS else f"{row[column]:.1f}" for column in row)
    return f"| {name} | {seed} | " + " | ".join(numbers) + " |"


def main() -> None:
    parser = network_parser(__doc__)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--macs", default="0.5x")
    budget.add_argument("--latency")
    parser.add_argument("--keep-blocks", action="store_true")
    parser.add_argument("--strategies", default="auto,ddpg,greedy,knapsack,uniform,random")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("search-quality"))
    arguments = parser.parse_args()
    bench = Bench(arguments)
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)
    summary: list[str] = []
    studies: dict[str, list[StudyResult]] = {}
    for name in arguments.strategies.split(","):
        rows, studies[name] = [], []
        for seed in range(arguments.seeds):
            studies[name].append(bench.search(name, seed, arguments.episodes))
            rows.append(bench.row(name, seed, studies[name][-1]))
            print(line(name, str(seed), rows[-1]), flush=True)
        columns = {column: np.array([row[column] for row in rows]) for column in rows[0]}
        summary.append(line(name, "mean", {column: float(values.mean()) for column, values in columns.items()}))
        summary.append(line(name, "range", {column: float(np.ptp(values)) for column, values in columns.items()}))
    print("\n".join(summary))
    print_race(studies, bench.space)


if __name__ == "__main__":
    main()
