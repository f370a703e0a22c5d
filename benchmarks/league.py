"""A league of ways to make a network fast: one machine, one checkpoint, one measured latency budget, one fine-tuning.

    python benchmarks/league.py --model resnet56 --checkpoint resnet56.pt --data npz:DIR --smaller resnet20=r20.pt
    python benchmarks/league.py --model resnet20 --checkpoint resnet20.pt --data npz:DIR --precision int8
    python benchmarks/league.py --model resnet20 --checkpoint resnet20.pt --data npz:DIR --only auto --budgets 0.5x

Budgets are shares of what the float32 original takes. Everybody is fine-tuned for as many epochs of the same images, by
the same recipe, with the original as the teacher; searches have as many episodes. Every result is timed in turns with
the original, and scored on the test set as a file. Prints a line for each result, then a table: means over the seeds,
and in brackets how far these are apart; beside it a plot of accuracy against measured milliseconds. Finished parts are
files in --out, so that the same command goes on after a stop, and prints a finished table at once; what was not reached
is tried again. docs/league.md says who takes part.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

import torch
from league_table import Row, find_row, plot, table, write_row
from league_ways import WAYS, missing_package, stock
from named_network import network_parser
from ways import Bench

from amc_hw.budget.budget import parse_budget
from amc_hw.devices.registry import open_device
from amc_hw.errors import AmcHwError, UsageError, WrongRunError, unknown_name
from amc_hw.policy import Precision
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.protocol import Protocol
from amc_hw.runs.files import read_json, write_json
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.classification import evaluate_file

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
SETTINGS = "league.json"
SHARED = ("model", "checkpoint", "data", "episodes", "epochs")
"""What is the same for everybody in a folder."""


class League:
    """All rows of a folder in one precision; the network is loaded for the first that is not finished."""

    def __init__(self, arguments: argparse.Namespace, opened: ExitStack) -> None:
        self.arguments, self.opened = arguments, opened
        self.out = Path(arguments.out) / arguments.precision
        self.rows: list[Row] = []
        self.missed: list[str] = []

    @cached_property
    def bench(self) -> Bench:
        options = argparse.Namespace(**{**vars(self.arguments), "out": self.out})
        device = self.opened.enter_context(open_device("host", options.precision))
        bench = Bench(options, device, options.precision)
        write_json(Path(self.arguments.out) / SETTINGS, shared(self.arguments))
        return bench

    def add_stock(self) -> None:
        """Add what nobody pruned."""
        names = ["original", "int8 alone", *(each.partition("=")[0] for each in self.arguments.smaller)]
        for name in names:
            folder = self.out / "stock" / name.replace(" ", "-")
            row = find_row(folder / "row.json")
            self._add(row or self._measured(stock(self.bench, self.arguments.smaller)[name], folder, name, None, 0))

    def add(self, way: str, budget: float, seed: int) -> None:
        """Add a way's result; what could not be made is noted."""
        folder = self.out / way / f"{budget:g}x-{seed}"
        row = find_row(folder / "row.json")
        if row is None:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                row = self._measured(WAYS[way](self.bench, budget, folder, seed), folder, way, budget, seed)
            except AmcHwError as error:
                self.missed.append(f"{budget:g}x {way}, seed {seed}: {error}")
                print(self.missed[-1], flush=True)
                return
        self._add(row)

    def _measured(self, file: Path, folder: Path, way: str, budget: float | None, seed: int) -> Row:
        bench = self.bench
        timings = benchmark(bench.device, {"original": bench.original, "other": file}, Protocol(), SILENT)
        top1 = evaluate_file(file, bench.trained.data.test, SILENT)
        row = Row(way, budget, seed, top1, timings["other"].latency_ms, timings["original"].latency_ms)
        folder.mkdir(parents=True, exist_ok=True)
        write_row(row, folder / "row.json")
        return row

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        print(row, flush=True)


def shared(arguments: argparse.Namespace) -> dict[str, str]:
    """Return what all rows of a folder share, by name."""
    texts = {name: str(getattr(arguments, name)) for name in SHARED}
    return {**texts, "checkpoint": str(Path(arguments.checkpoint).resolve())}


def require_same(arguments: argparse.Namespace) -> None:
    """Raise WrongRunError where the folder holds a league of something else."""
    file, now = Path(arguments.out) / SETTINGS, shared(arguments)
    for name, before in (read_json(file) if file.exists() else {}).items():
        if before != now[name]:
            raise WrongRunError(
                f"{arguments.out} is a league with {name} {before}, not {now[name]}; choose another folder with --out."
            )


def shares(texts: str) -> list[float]:
    """Read budgets; raise UsageError where one is no share of the original's latency in float32."""
    budgets = [parse_budget("latency_ms", text) for text in texts.split(",")]
    if any(budget.ratio is None or budget.of != "fp32" for budget in budgets):
        raise UsageError(f"the budgets {texts} must be shares of what the float32 original takes, such as 0.75x,0.5x.")
    return [budget.ratio for budget in budgets if budget.ratio is not None]


def read_arguments() -> argparse.Namespace:
    parser = network_parser(__doc__)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of everybody's files")
    parser.add_argument("--budgets", default="0.75x,0.5x,0.35x")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--only", metavar="WAY,...", default=",".join(WAYS), help=f"of {', '.join(WAYS)}")
    parser.add_argument("--smaller", action="append", default=[], metavar="NAME=CHECKPOINT", help="repeatable")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("league"))
    return parser.parse_args()


def play(arguments: argparse.Namespace) -> bool:
    """Run what is not finished and print the table; tell whether everybody reached every budget."""
    ways, budgets = arguments.only.split(","), shares(arguments.budgets)
    for way in ways:
        if way not in WAYS:
            raise unknown_name("way", way, WAYS)
    if sentence := missing_package(ways):
        raise UsageError(sentence)
    for named in arguments.smaller:
        if not Path(named.partition("=")[2]).is_file():
            raise UsageError(f"--smaller {named} names no checkpoint that exists; write NAME=CHECKPOINT.")
    require_same(arguments)
    with ExitStack() as opened:
        league = League(arguments, opened)
        league.add_stock()
        for seed in range(arguments.seeds):
            for budget in budgets:
                for way in ways:
                    league.add(way, budget, seed)
    print(f"\n{table(league.rows)}")
    picture = league.out / "league.png"
    plot(league.rows, f"{arguments.model}, {arguments.precision}", picture)
    print("\n".join(["", *(f"not reached: {each}" for each in league.missed), f"plot: {picture}"]))
    return not league.missed


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        sys.exit(0 if play(read_arguments()) else 1)
    except AmcHwError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
