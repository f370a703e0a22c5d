"""What to do where int8 alone is not fast enough: four ways to the same measured latency, on the same network.

    python benchmarks/precision.py --model resnet20 --checkpoint resnet20.pt --data npz:DIR --budgets 0.25x,0.2x
    python benchmarks/precision.py --model resnet56 --checkpoint r56.pt --data npz:DIR --smaller resnet20=r20.pt

The ways: a run in int8 (measured, scored, fitted, fine-tuned in it); the same search and as many epochs in float32, its
budget moved until the int8 file takes as long; Torch-Pruning's uniform group magnitude, fine-tuned by the same recipe,
its ratio moved likewise; and int8 alone, of the network and of smaller ones. Budgets are shares of what the float
original takes. In the end all files of a budget are timed in turns with it, and scored on the test set. `--out` keeps
what is done, so that the same command goes on.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
import torch_pruning
from named_network import named_network, network_parser
from torch import nn

from amc_hw import load
from amc_hw.cli.terminal import progress_bar
from amc_hw.devices.base import Device
from amc_hw.devices.registry import open_device
from amc_hw.formats.export import export
from amc_hw.pipeline.compress import compress
from amc_hw.pipeline.trained import TrainedModel, make_trained_model
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.protocol import QUICK, Protocol
from amc_hw.runs.config import make_config
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.classification import evaluate_file
from amc_hw.training.loop import train
from amc_hw.training.recipe import recovery_recipe

TRIES = 4
"""Float budgets that are tried until the int8 file takes as long as it may; the last one stays."""
STEPS = 7
"""Bisections of Torch-Pruning's ratio."""
LEAST_USED = 0.95


class Bench:
    """One network on one device, with what every way needs."""

    def __init__(self, arguments: argparse.Namespace, device: Device) -> None:
        model, data = named_network(arguments)
        self.arguments, self.device, self.out = arguments, device, Path(arguments.out)
        self.trained: TrainedModel = make_trained_model(model, data, precision="int8")
        self.out.mkdir(parents=True, exist_ok=True)
        self.original = self.out / "original.tflite"
        if not self.original.exists():
            export(self.trained.model, self.trained.example, self.original)

    def int8_file(self, model: nn.Module, file: Path) -> Path:
        """Write a network as an int8 file, quantized after training."""
        export(model, self.trained.example, file, "int8", self.trained.calibration)
        return file

    def share(self, file: Path) -> float:
        """Return the latency of a file as a share of the float original's."""
        timings = benchmark(self.device, {"original": self.original, "other": file}, QUICK, SILENT)
        return timings["other"].latency_ms / timings["original"].latency_ms

    def run(self, folder: Path, precision: str, budget: str, epochs: int) -> None:
        """Compress, or go on."""
        one = self.arguments
        config = make_config(
            model=one.model,
            checkpoint=one.checkpoint,
            data=one.data,
            data_root=one.data_root,
            precision=precision,
            latency=budget,
            episodes=one.episodes,
            epochs=epochs,
            seed=one.seed,
        )
        with progress_bar() as progress:
            compress(folder, config, progress)


def in_int8(bench: Bench, budget: float) -> Path:
    folder = bench.out / f"int8-{budget}x"
    bench.run(folder, "int8", f"{budget}x", bench.arguments.epochs)
    return folder / "model.tflite"


def in_float(bench: Bench, budget: float) -> Path:
    file = bench.out / f"float-then-int8-{budget}x.tflite"
    if file.exists():
        return file
    alone = bench.share(bench.int8_file(bench.trained.model, bench.out / "alone.tflite"))
    wanted, best = min(0.95, budget / alone), None
    for _ in range(TRIES):
        folder = bench.out / f"float-{budget}x-by-{wanted:.4f}x"
        bench.run(folder, "fp32", f"{wanted:.4f}x", 0)
        used = bench.share(bench.int8_file(load(folder), bench.out / "tried.tflite")) / budget
        if used <= 1:
            best = folder
            if used >= LEAST_USED:
                break
        wanted = min(0.95, wanted * 0.985 / used)
    if best is None:
        raise SystemExit(
            f"no float budget of {TRIES} gave an int8 file within {budget}x; run it again on a quiet machine"
        )
    wanted_budget = best.name.rpartition("-")[2]
    bench.run(best, "fp32", wanted_budget, bench.arguments.epochs)
    return bench.int8_file(load(best), file)


def by_torch_pruning(bench: Bench, budget: float) -> Path:
    file = bench.out / f"torch-pruning-{budget}x.tflite"
    if file.exists():
        return file
    trained, low, high = bench.trained, 0.0, 0.9
    for _ in range(STEPS):
        middle = (low + high) / 2
        used = bench.share(bench.int8_file(uniform(trained, middle), bench.out / "tried.tflite")) / budget
        low, high = (low, middle) if used <= 1 else (middle, high)
        if LEAST_USED <= used <= 1:
            break
    model, data = uniform(trained, high), trained.data.with_search_learned()
    recipe = recovery_recipe(len(data.train), bench.arguments.epochs)
    with progress_bar() as progress:
        train(model, data, recipe, seed=bench.arguments.seed, teacher=trained.model, progress=progress)
    return bench.int8_file(model.eval(), file)


def uniform(trained: TrainedModel, ratio: float) -> nn.Module:
    """Return the network without a share of every group's channels, those of the least group magnitude.

    Both prune the same groups: Torch-Pruning cuts what feeds ResNet's constant shortcuts, and the network fails then.
    """
    model = copy.deepcopy(trained.model).requires_grad_(True)
    cut = {member.module for group in trained.network.groups for member in group.members if member.side == "out"}
    left = [
        layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear) and name not in cut
    ]
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    torch_pruning.pruner.MetaPruner(
        model, trained.example, importance=importance, pruning_ratio=ratio, ignored_layers=left, round_to=4
    ).step()
    return model.eval()


def smaller(bench: Bench, named: str) -> Path:
    name, _, checkpoint = named.partition("=")
    file = bench.out / f"{name}-int8.tflite"
    if not file.exists():
        other = {**vars(bench.arguments), "model": name, "checkpoint": Path(checkpoint)}
        model, _ = named_network(argparse.Namespace(**other))
        bench.int8_file(model.eval(), file)
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
        "Torch-Pruning, then int8": by_torch_pruning,
    }
    print("| budget | way | top-1 | latency | of the float original's |\n|---|---|---|---|---|", flush=True)
    with open_device("host", "int8") as device:
        bench = Bench(arguments, device)
        alone = bench.int8_file(bench.trained.model, bench.out / "alone.tflite")
        stock = {f"{arguments.model} in int8": alone}
        stock |= {f"{each.partition('=')[0]} in int8": smaller(bench, each) for each in arguments.smaller}
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
    main()
