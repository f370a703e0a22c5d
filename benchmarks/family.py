"""What a sweep of several budgets costs beside a run of one, and whether each of its budgets is as good as alone.

    python benchmarks/family.py --model resnet20 --checkpoint r20.pt --data npz:DIR --out family

With --metric macs, params or size the budgets are of that. The latency table is made first. Then the sweep and, alone,
the budgets of --alone run in a process each, in folders of their own under --out; what is finished there is not
repeated. Times are processor seconds, those of timing programs among them, by what the progress said meanwhile.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from pathlib import Path

from named_network import named_network, network_parser, run_program

from amc_hw.devices.registry import open_device
from amc_hw.pipeline.trained import make_trained_model
from amc_hw.profiling.profile import profile
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import METRICS, RunConfig, make_config
from amc_hw.runs.files import read_json, write_json
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT, Progress, Update
from amc_hw.search.study import read_study
from amc_hw.sweep.plan import plan_sweep
from amc_hw.sweep.sweep import sweep

TIMES = "times.json"
END = "end"
WRITE_EVERY_S = 2.0


class Clock:
    """Adds up processor seconds by stage, also those before a stop; a listener of `Progress`.

    Args:
        file: where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.written = file, 0.0
        self.seconds: dict[str, float] = {name: float(each) for name, each in known_times(file).items()}
        self.stage, self.since = "beginning", processor_seconds()

    def __call__(self, update: Update) -> None:
        """Take the time since the last update for that one's stage."""
        now = processor_seconds()
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self.since
        self.stage, self.since = update.stage, now
        if now - self.written > WRITE_EVERY_S:
            write_json(self.file, self.seconds)
            self.written = now


def known_times(file: Path) -> dict[str, float]:
    """Return what was written before."""
    return dict(read_json(file)) if file.exists() else {}


def processor_seconds() -> float:
    """Return what this process and those of its children that have ended have taken."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def read_arguments() -> argparse.Namespace:
    parser = network_parser(__doc__, needs_weights=False)
    parser.add_argument("--metric", default="latency", choices=list(METRICS))
    parser.add_argument("--budgets", default="0.75x,0.65x,0.55x,0.45x,0.35x")
    parser.add_argument("--alone", default="0.55x", help="budgets that run alone, too")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("family"))
    return parser.parse_args()


def config_of(arguments: argparse.Namespace, seed: int) -> RunConfig:
    """Return the settings of all runs of a seed."""
    names = ("model", "checkpoint", "data", "data_root", "precision", "episodes", "epochs")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return make_config(**given, **{arguments.metric: "0.5x"}, seed=seed, table=arguments.out / "table.json")


def make_table(arguments: argparse.Namespace) -> None:
    """Measure the latency table of all runs, where it is not there yet."""
    file = arguments.out / "table.json"
    if not file.exists():
        model, data = named_network(arguments)
        with open_device("host", arguments.precision) as device:
            profile(device, make_trained_model(model, data), file, 0, SILENT)


def run(folder: Path, base: RunConfig, budgets: list[str]) -> None:
    """Sweep some budgets, and keep what it took."""
    clock = Clock(folder / TIMES)
    rows = sweep(folder, plan_sweep(folder, base, budgets, 1), Progress(clock))
    clock(Update(END))
    for row in rows:
        if row.error:
            print(f"{row.run}: {row.error}", flush=True)
    write_json(folder / TIMES, {**clock.seconds, END: 0.0})


def once(folder: Path, base: RunConfig, budgets: list[str]) -> dict[str, float]:
    """Return the processor seconds of a sweep in a process of its own, by stage."""
    if END not in known_times(folder / TIMES):
        process = multiprocessing.get_context("spawn").Process(target=run, args=(folder, base, budgets))
        process.start()
        process.join()
    return known_times(folder / TIMES)


def print_times(alone: dict[str, float], family: dict[str, float], budgets: int) -> None:
    """Print what each stage took, the dearest of the family first."""
    print(f"| processor seconds | alone | {budgets} budgets | times |\n|---|---|---|---|")
    rows = sorted({**family, **alone}, key=lambda stage: -family.get(stage, 0.0))
    for stage in rows:
        one, several = alone.get(stage, 0.0), family.get(stage, 0.0)
        if max(one, several) >= 1:
            print(f"| {stage} | {one:.1f} | {several:.1f} | {several / one if one else 0:.2f} |")
    one, several = sum(alone.values()), sum(family.values())
    print(f"| all | {one:.1f} | {several:.1f} | {several / one:.2f} |", flush=True)


def print_points(folder: Path, budget: str, seed: int, where: str) -> None:
    """Print how good a run is."""
    found = RunFolder(folder / f"{budget}-seed{seed}")
    if not found.summary.exists():
        print(f"| {budget} | {seed} | {where} | failed | | | |")
        return
    summary, episodes = found.summary.read(), read_study(found.episodes.path).episodes
    tuned = max((each.score for each in found.shortlist.read()), default=0.0)
    best, metric = max(episodes, key=lambda each: each.reward), read_config(found.path).metric
    share = (summary.compressed.value(metric) or 0.0) / (summary.original.value(metric) or 1.0)
    print(
        f"| {budget} | {seed} | {where} | {len(episodes)} | {best.accuracy:.2%} | {tuned:.2%} "
        f"| {summary.compressed.accuracy:.2%} | {share:.3f}x |"
    )


def main() -> None:
    arguments = read_arguments()
    out, budgets, alone = arguments.out, arguments.budgets.split(","), arguments.alone.split(",")
    out.mkdir(parents=True, exist_ok=True)
    make_table(arguments)
    for seed in range(arguments.seeds):
        base = config_of(arguments, seed)
        family = once(out / f"family-{seed}", base, budgets)
        for budget in alone:
            single = once(out / f"alone-{budget}-{seed}", base, [budget])
            print(f"\nseed {seed}, {budget} alone:\n")
            print_times(single, family, len(budgets))
    print("\n| budget | seed | searched | episodes | best score | tuned | test | share |\n" + 8 * "|---" + "|")
    for budget in budgets:
        for seed in range(arguments.seeds):
            print_points(out / f"family-{seed}", budget, seed, "in the family")
            if budget in alone:
                print_points(out / f"alone-{budget}-{seed}", budget, seed, "alone")


if __name__ == "__main__":
    run_program(main)
