"""What the work costs beside the old ways of doing it: training, an episode, a search, a table, the help.

    OMP_NUM_THREADS=1 python benchmarks/speed.py --checkpoint resnet56.th --data npz:CIFAR10 --out speed
    python benchmarks/speed.py --only help --before OLD_CHECKOUT --out speed

A row's old way is in the same run: all in bfloat16 for training, AMC's way (see `search_speed.py`) for an episode and
for a search; for the table and the help it is an earlier version of amc-hw, in turns with this one, where --before
names its folder. A search is timed until one of its policies, on all images, is as good as the best of AMC's by its own
score; statistics and the sample count. What a row printed is kept in --out, and so are a search's episodes: a stopped
benchmark goes on. The machine should be quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from search_speed import problem
from ways_amc import CALIBRATION_IMAGES, Fresh

from amc_hw.pipeline.search import CANDIDATES
from amc_hw.pipeline.trained import make_pruner
from amc_hw.search.rewards import find_reward
from amc_hw.search.scoring import EarlyDropping, PartScorer
from amc_hw.search.strategies import build_strategy
from amc_hw.search.study import FunctionScorer, Problem, Scorer, StudyResult, run_study

HERE = Path(__file__).resolve().parent
AMC_EPISODES = 400
HELP_RUNS, TABLE_RUNS = 15, 1
NEAR = 0.01  # a sample's score may be off by so much; what is nearer is scored on all images


def by_script(script: str, *options: str) -> str:
    """Return what another benchmark prints."""
    command = [sys.executable, str(HERE / script), *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def training(arguments: Namespace) -> str:
    """Return images a second, all in bfloat16 and as chosen now."""
    return by_script("training_speed.py", "--models", "mobilenet_v1_cifar_0.5")


def episode(arguments: Namespace) -> str:
    """Return seconds an episode, AMC's way and ours."""
    named = ["--model", arguments.model, "--checkpoint", str(arguments.checkpoint), "--data", arguments.data]
    named += ["--data-root", str(arguments.data_root)] if arguments.data_root else []
    return by_script("search_speed.py", *named, "--macs", str(arguments.macs), "--episodes", "24")


class Race:
    """Searches of one network within one budget, timed with all that they need once."""

    def __init__(self, arguments: Namespace) -> None:
        self.arguments = arguments
        self.trained, self.space = problem(arguments)

    def amc(self) -> tuple[float, float]:
        """Return the accuracy of the best policy of AMC's search, by its own score, and the search's seconds."""
        start = time.perf_counter()
        fresh = Fresh(self.trained, self.trained.data.train.first(CALIBRATION_IMAGES, 0)[0])
        once = time.perf_counter() - start
        study = self._study("amc", "ddpg", FunctionScorer(fresh), None)
        return study.best.accuracy, once + sum(each.seconds for each in study.episodes)

    def ours(self, name: str, goal: float) -> tuple[int, float]:
        """Return which episode of a strategy was first as accurate on all images (-1: none), and seconds until then."""
        start = time.perf_counter()
        pruner, scorer = make_pruner(self.trained, seed=0), PartScorer(self.trained.data.search)
        importance = pruner.channel_importance()
        dropping = EarlyDropping(scorer, self.space, pruner.pruned, self.trained.model, CANDIDATES)
        len(dropping.sample)  # draws it
        seconds = time.perf_counter() - start
        for each in self._study(name, name, dropping, importance).episodes:
            seconds += each.seconds
            promises = each.accuracy >= goal - NEAR and self.space.keeps(each.channels)
            if promises and scorer(pruner.pruned(each.channels)) >= goal:
                return each.episode, seconds
        return -1, seconds

    def _study(self, out: str, name: str, scorer: Scorer, importance: dict[str, list[float]] | None) -> StudyResult:
        episodes = self.arguments.episodes
        asked = ("model", "checkpoint", "data", "macs", "episodes")
        settings = {"strategy": name} | {key: str(getattr(self.arguments, key)) for key in asked}
        strategy = build_strategy(name, self.space, seed=0, episodes=episodes, importance=importance)
        wanted = Problem(self.space, find_reward("resource"), episodes, settings)
        return run_study(wanted, strategy, scorer, self.arguments.out / f"search-{out}.jsonl")


def search(arguments: Namespace) -> str:
    """Return how long searches take until they are as good as AMC's whole one."""
    race = Race(arguments)
    goal, amc_s = race.amc()
    lines = [f"AMC's way: {goal:.2%} on the validation split after {arguments.episodes} episodes, {amc_s:.0f} s"]
    for name in arguments.strategies.split(","):
        number, seconds = race.ours(name, goal)
        how = f"as good in episode {number}" if number >= 0 else "never as good"
        lines.append(f"{name}: {how}, {seconds:.0f} s: {amc_s / seconds:.1f} times as fast")
    return "\n".join(lines)


def table(arguments: Namespace) -> str:
    """Return the seconds of a new latency table of MobileNetV2."""

    def command(name: str) -> list[str]:
        file = arguments.out / f"{name}.table.json"
        file.unlink(missing_ok=True)
        return ["profile", "--model", "torchvision:mobilenet_v2", "--table", str(file.resolve())]

    return in_turns(arguments, command, TABLE_RUNS, clock)


def usage(arguments: Namespace) -> str:
    """Return the processor's seconds of ``amc-hw --help``."""
    return in_turns(arguments, lambda name: ["--help"], HELP_RUNS, processor)


def in_turns(arguments: Namespace, command: Callable[[str], list[str]], runs: int, timer: Callable[[], float]) -> str:
    """Time a command of this amc-hw, in turns with the earlier one where there is one.

    Args:
        arguments: with ``before``, the earlier one's folder.
        command: which one's name, ``now`` or ``before``, to the command.
        runs: of each.
        timer: of seconds.
    """
    folders = {"before": arguments.before, "now": HERE.parent}
    times: dict[str, list[float]] = {name: [] for name, folder in folders.items() if folder}
    for _ in range(runs):
        for name in times:
            called = [sys.executable, "-m", "amc_hw", *command(name)]
            there = {**os.environ, "PYTHONPATH": str(folders[name].resolve())}
            start = timer()
            subprocess.run(called, check=True, stdout=subprocess.DEVNULL, cwd=folders[name], env=there)
            times[name].append(timer() - start)
    medians = {name: statistics.median(each) for name, each in times.items()}
    faster = f": {medians['before'] / medians['now']:.2f} times as fast" if "before" in medians else ""
    return ", ".join(f"{name} {seconds:.3f} s" for name, seconds in medians.items()) + faster


def clock() -> float:
    """Return the time."""
    return time.perf_counter()


def processor() -> float:
    """Return the processor's time of all processes that this one started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


ROWS: dict[str, Callable[[Namespace], str]] = {
    "training": training,
    "episode": episode,
    "search": search,
    "table": table,
    "help": usage,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ROWS, action="append", help="a row; may be repeated")
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--checkpoint", type=Path, help="of the episode and the search")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--macs", type=float, default=0.5, help="budget, a share of the original's")
    parser.add_argument("--episodes", type=int, default=AMC_EPISODES, help="of a search")
    parser.add_argument("--strategies", default="auto,ddpg")
    parser.add_argument("--before", type=Path, help="folder of an earlier version")
    parser.add_argument("--out", type=Path, default=Path("speed"))
    parser.set_defaults(side=None)
    arguments = parser.parse_args()
    rows = arguments.only or list(ROWS)
    if arguments.checkpoint is None and {"episode", "search"} & set(rows):
        parser.error("an episode and a search need --checkpoint")
    arguments.out.mkdir(parents=True, exist_ok=True)
    asked = {key: str(value) for key, value in vars(arguments).items() if key not in ("only", "out")}
    for name in rows:
        kept = arguments.out / f"{name}.json"
        row = json.loads(kept.read_text()) if kept.exists() else {}
        if row.get("asked") != asked:
            row = {"asked": asked, "printed": ROWS[name](arguments).rstrip()}
            kept.write_text(json.dumps(row, indent=2))
        print(f"{name}:\n{row['printed']}\n", flush=True)


if __name__ == "__main__":
    main()
