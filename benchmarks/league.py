"""A league table: everybody makes the same network fast enough, with the same checkpoint, device, budgets and epochs.

    python benchmarks/league.py --model resnet56 --checkpoint r56.pt --data npz:DIR --budgets 0.75x,0.5x,0.35x \\
        --smaller resnet20=r20.pt --seeds 3 --out league-r56
    python benchmarks/league.py ... --out league-r56 --precision int8 --budgets 0.25x,0.15x
    python benchmarks/league.py ... --out league-r56 --only auto --budgets 0.5x          # one row of it again

Those who do not prune: the original, the same in int8, and smaller networks. Torch-Pruning (`tp-...`): magnitude, group
norm and Taylor, in every group or over all, by the ratio that is fast enough. One keep ratio for every group, and
nothing searched (`one-ratio`); the best of policies around it (`uniform`), `random`, NetAdapt's way (`greedy`) and
HALP's (`knapsack`): these are refitted as ours are. AMC's way with the faults of its code (`amc`): by
MACs, with whatever latency, and tightened until the latency holds. Ours: `ddpg` and `auto`. With another `--precision`
than fp32 ours are runs in it, and all others prune in float32 and are quantized then, `auto-in-float` among them.

Budgets are shares of the float32 original's measured latency. Each network is fine-tuned by the same recipe, and each
file timed in turns with the original and scored on the test set. A line for each result goes to stderr; in the end the
table is printed and `league.png` drawn, of all in --out. What is finished stays there: the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from league_parts import Part, Result, chosen, contestants, read_results, stock_parts
from league_table import draw, table
from named_network import network_parser, require_same, run_program
from ways import Bench

from amc_hw.devices.base import Device
from amc_hw.devices.registry import open_device
from amc_hw.errors import AmcHwError, UsageError
from amc_hw.policy import as_precision


def read_arguments() -> argparse.Namespace:
    parser = network_parser(__doc__)
    parser.add_argument("--budgets", default="0.75x,0.5x,0.35x", help="shares of the original's measured latency")
    parser.add_argument("--precision", type=as_precision, default="fp32")
    parser.add_argument("--smaller", action="append", default=[], metavar="NAME=CHECKPOINT", help="repeatable")
    parser.add_argument(
        "--only", default="", metavar="WAY,...", help="contestants; original and the smaller ones are some"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("league"))
    return parser.parse_args()


def budgets_of(text: str) -> list[float]:
    """Return budgets as numbers; raise UsageError where one is no share of the original's latency."""
    try:
        budgets = [float(each.strip().removesuffix("x")) for each in text.split(",")]
    except ValueError:
        budgets = [0.0]
    if not all(0 < budget < 1 for budget in budgets):
        raise UsageError(f"--budgets are shares of the original's latency with commas between them, not {text}; 0.5x.")
    return budgets


def parts_of(arguments: argparse.Namespace) -> list[Part]:
    """Return the parts that are asked for: a whole league of the first seed, then of the next."""
    stock = stock_parts(arguments.smaller, arguments.precision)
    ways = contestants(arguments.precision)
    known = list(dict.fromkeys([*(part.way for part in stock), *ways]))
    names = chosen([name for name in arguments.only.split(",") if name], known)
    budgets = budgets_of(arguments.budgets)
    parts = [part for part in stock if part.way in names]
    for seed in range(arguments.seeds):
        parts += [ways[name](budget, seed) for name in names if name in ways for budget in budgets]
    return parts


def settings_of(arguments: argparse.Namespace, device: Device) -> dict[str, object]:
    """Return what all results of a league have in common."""
    names = ("model", "checkpoint", "data", "data_root", "episodes", "epochs")
    fixed = {name: getattr(arguments, name) for name in names}
    machine = {name: value for name, value in device.fingerprint().model_dump().items() if name != "dtype"}
    return {**fixed, "checkpoint": str(arguments.checkpoint.expanduser().resolve()), "machine": machine}


def play(parts: list[Part], bench: Bench) -> tuple[list[Result], list[str]]:
    """Return the results of parts, and what others failed with."""
    results, failed = [], []
    for number, part in enumerate(parts, start=1):
        try:
            results.append(one := part.result(bench))
            said = f"{one.top1:.2%}, {one.share:.3f}x"
        except AmcHwError as error:
            failed.append(said := f"{part} in {part.precision} failed: {error}")
        print(f"{number} of {len(parts)}: {part} in {part.precision}: {said}", file=sys.stderr, flush=True)
    return results, failed


def main() -> None:
    arguments = read_arguments()
    parts = parts_of(arguments)
    with open_device("host", arguments.precision) as device:
        require_same(arguments.out, settings_of(arguments, device))
        results, failed = play(parts, Bench(arguments, device, arguments.precision))
    if results:
        print(table(results), flush=True)
        draw(read_results(arguments.out), arguments.out / "league.png", arguments.model)
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    run_program(main)
