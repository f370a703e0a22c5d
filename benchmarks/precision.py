"""What to do where int8 alone is not fast enough: four ways to the same measured latency, on the same network.

    python benchmarks/precision.py --model resnet20 --checkpoint resnet20.pt --data npz:DIR --budgets 0.25x,0.2x
    python benchmarks/precision.py --model resnet56 --checkpoint r56.pt --data npz:DIR --smaller resnet20=r20.pt

The ways: a run in int8 (measured, scored, fitted, fine-tuned in it); the same search and as many epochs in float32, its
budget moved until the int8 file takes as long; Torch-Pruning's uniform group magnitude, fine-tuned by the same recipe,
its ratio moved likewise; and int8 alone, of the network and of smaller ones. Budgets are shares of what the float
original takes. In the end all files of a budget are timed in turns with it, and scored on the test set. `--out` keeps
what is done, so that the same command goes on. `league.py` holds more ways against each other.
"""

from __future__ import annotations

from pathlib import Path

import torch
from named_network import network_parser, run_program
from ways import Bench, searched_in_float, smaller
from ways_torch_pruning import by_torch_pruning

from amc_hw.devices.registry import open_device
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.protocol import Protocol
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.classification import evaluate_file


def in_int8(bench: Bench, budget: float) -> Path:
    one = bench.arguments
    return bench.run(bench.out / f"int8-{budget}x", f"{budget}x", one.epochs, one.seed, precision="int8")


def in_float(bench: Bench, budget: float) -> Path:
    file = bench.out / f"float-then-int8-{budget}x.tflite"
    if not file.exists():
        bench.write(searched_in_float(bench, budget, bench.out / f"float-{budget}x", bench.arguments.seed), file)
    return file


def in_torch_pruning(bench: Bench, budget: float) -> Path:
    stem = bench.out / f"torch-pruning-{budget}x"
    file = stem.with_name(f"{stem.name}.tflite")
    if not file.exists():
        bench.write(by_torch_pruning(bench, budget, stem, bench.arguments.seed), file)
    return file


def main() -> None:
    parser = network_parser(__doc__)
    parser.add_argument("--budgets", default="0.3x,0.25x,0.2x")
    parser.add_argument("--smaller", action="append", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("precision"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = {
        "int8 throughout": in_int8,
        "pruned in float32, then int8": in_float,
        "Torch-Pruning, then int8": in_torch_pruning,
    }
    print("| budget | way | top-1 | latency | of the float original's |\n|---|---|---|---|---|", flush=True)
    with open_device("host", "int8") as device:
        bench = Bench(arguments, device, "int8")
        alone = bench.write(bench.trained.model, bench.out / "alone.tflite")
        stock = {f"{arguments.model} in int8": alone}
        for named in arguments.smaller:
            name = named.partition("=")[0]
            stock[f"{name} in int8"] = smaller(bench, named, bench.out / f"{name}-int8.tflite")
        for text in arguments.budgets.split(","):
            budget = float(text.removesuffix("x"))
            files = {"float32 original": bench.original, **stock}
            files |= {way: make(bench, budget) for way, make in ways.items()}
            timings = benchmark(device, files, Protocol(), SILENT)
            whole = timings["float32 original"].latency_ms
            for way, file in files.items():
                accuracy, latency = evaluate_file(file, bench.trained.data.test, SILENT), timings[way].latency_ms
                print(f"| {text} | {way} | {accuracy:.2%} | {latency:.4f} ms | {latency / whole:.3f}x |", flush=True)


if __name__ == "__main__":
    run_program(main)
