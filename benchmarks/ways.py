"""Ways to make one network fast enough on this computer: what benchmarks share that hold some against each other.

Budgets are shares of what the float32 original takes, measured in turns with it. Whoever pruned a network, it is fine-
tuned by the same call: as many epochs of the same images, by the same recipe, with the original as its teacher.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from named_network import named_network
from torch import nn

from amc_hw import load
from amc_hw.cli.terminal import progress_bar
from amc_hw.devices.base import Device
from amc_hw.errors import BudgetError
from amc_hw.formats.export import export
from amc_hw.pipeline.compress import compress
from amc_hw.pipeline.trained import TrainedModel, make_trained_model
from amc_hw.policy import Precision
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.deployed import DeployedFiles
from amc_hw.profiling.protocol import HEADROOM, QUICK, Protocol
from amc_hw.runs.config import make_config
from amc_hw.runs.files import write_json
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.goal import Finetuning
from amc_hw.training.recipe import SMALL

TRIES, MOST_TRIES = 4, 8
"""Budgets that are tried until the file takes as long as it may, and where none fits yet; of those that fit, the one
stays that uses most."""
STEPS = 7
GRID = 18
"""Bisections of a pruning ratio, and ratios that are tried where they find none that is fast enough."""
MOST_PRUNED = 0.9
LEAST_USED = 0.95


class Bench:
    """One network on one device, with what every way needs.

    Args:
        arguments: the options of `named_network.network_parser`, with ``episodes``, ``epochs`` and ``out``.
        device: where files are timed.
        precision: of the files that are made.
    """

    def __init__(self, arguments: argparse.Namespace, device: Device, precision: Precision) -> None:
        model, data = named_network(arguments)
        self.arguments, self.device, self.precision = arguments, device, precision
        self.trained: TrainedModel = make_trained_model(model, data)
        self.out = Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.original = self.out / "original.tflite"
        self._files = DeployedFiles(device, self.trained, precision)
        if not self.original.exists():
            self.write(self.trained.model, self.original, "fp32")

    def write(self, model: nn.Module, file: Path, precision: Precision | None = None) -> Path:
        """Write a network as a file, quantized after training where its precision is not fp32."""
        export(model, self.trained.example, file, precision or self.precision, self.trained.calibration)
        return file

    def share(self, file: Path, protocol: Protocol = QUICK) -> float:
        """Return the latency of a file as a share of the float original's."""
        timings = benchmark(self.device, {"original": self.original, "other": file}, protocol, SILENT)
        return timings["other"].latency_ms / timings["original"].latency_ms

    def used(self, model: nn.Module, budget: float) -> float:
        """Return which share of a budget the file of the network, or of a pruned version, uses."""
        file = self.out / "tried.tflite"
        file.write_bytes(self._files.checked(model, file))
        return self.share(file) / budget

    @property
    def alone(self) -> float:
        """Latency of the original in the precision of the files, as a share of what it takes in float32."""
        if self.precision == "fp32":
            return 1.0
        return Tried(self.out / f"alone-{self.precision}.json", lambda _: self.used(self.trained.model, 1.0))(1.0)

    def run(self, folder: Path, budget: str, epochs: int, seed: int, **settings: Any) -> Path:
        """Compress as the tool does, or go on; return the file."""
        one = self.arguments
        config = make_config(
            model=one.model,
            checkpoint=one.checkpoint,
            data=one.data,
            data_root=one.data_root,
            latency=budget,
            epochs=epochs,
            seed=seed,
            **{"episodes": one.episodes, **settings},
        )
        with progress_bar() as progress:
            compress(folder, config, progress)
        return folder / "model.tflite"

    def finetuned(self, model: nn.Module, seed: int, state: Path | None = None) -> nn.Module:
        """Fine-tune a network in place as runs do theirs; it goes on from its state after a whole epoch."""
        task = self.trained.task
        with progress_bar() as progress:
            how = Finetuning(self.arguments.epochs, seed, task.training_images >= SMALL, progress, state)
            if how.epochs:
                task.finetune(model.requires_grad_(True), self.trained.model, how)
        return model.eval()


class Tried:
    """Remembers what was measured, so that a search of the right setting goes on in the same way after a stop.

    Args:
        file: where the answers are kept.
        used: takes a setting and returns the share of the budget that is used with it.
    """

    def __init__(self, file: Path, used: Callable[[float], float]) -> None:
        self.file, self._used = file, used
        self._known: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def __call__(self, setting: float) -> float:
        key = f"{setting:.4f}"
        if key not in self._known:
            self._known[key] = self._used(setting)
            write_json(self.file, self._known)
        return self._known[key]


def moved(first: float, used: Callable[[float], float]) -> float:
    """Return the budget to search with, moved from a first one until the file keeps the budget that counts.

    Raises:
        BudgetError: none of `MOST_TRIES` did.
    """
    wanted, fitting = min(LEAST_USED, first), dict[float, float]()
    for number in range(MOST_TRIES):
        if fitting and number >= TRIES:
            break
        share = used(wanted)
        if share <= 1:
            fitting[wanted] = share
            if share >= LEAST_USED:
                break
        wanted = min(LEAST_USED, wanted * 0.985 / share)
    if not fitting:
        raise BudgetError(
            f"none of {MOST_TRIES} moved budgets gave a file that is fast enough; run it again on a quiet machine, or "
            "with a larger budget."
        )
    return max(fitting, key=lambda wanted: fitting[wanted])


def bisected(used: Callable[[float], float]) -> float:
    """Return a pruning ratio that was found to be fast enough, by bisection the least one.

    A larger ratio does not always give a faster network (see `ways_torch_pruning.ROUNDINGS`): where the bisection finds
    none, all ratios of a grid are tried.

    Raises:
        BudgetError: none is.
    """
    low, high, fits = 0.0, MOST_PRUNED, False
    for _ in range(STEPS):
        middle = (low + high) / 2
        share = used(middle)
        low, high, fits = (low, middle, True) if share <= HEADROOM else (middle, high, fits)
        if LEAST_USED <= share <= HEADROOM:
            break
    if fits:
        return high
    grid = [MOST_PRUNED * step / GRID for step in range(1, GRID + 1)]
    ratio = next((ratio for ratio in grid if used(ratio) <= HEADROOM), None)
    if ratio is None:
        raise BudgetError(f"no pruning ratio up to {MOST_PRUNED} is fast enough; give a larger budget.")
    return ratio


def searched_in_float(bench: Bench, budget: float, stem: Path, seed: int, **settings: Any) -> nn.Module:
    """Search in float32 with a budget that is moved until the quantized file is fast enough; return the fine-tuned.

    Args:
        bench: the network.
        budget: of the quantized file, a share of what the float32 original takes.
        stem: what run folders are called, before the budgets that they were searched with.
        seed: of the runs.
        settings: of the runs, for example ``strategy``.
    """

    def run(wanted: float, epochs: int) -> nn.Module:
        folder = stem.with_name(f"{stem.name}-by-{wanted:.4f}x")
        bench.run(folder, f"{wanted:.4f}x", epochs, seed, precision="fp32", **settings)
        return load(folder)

    tried = Tried(stem.with_name(f"{stem.name}-tried.json"), lambda wanted: bench.used(run(wanted, 0), budget))
    return run(moved(budget / bench.alone, tried), bench.arguments.epochs)


def smaller(bench: Bench, named: str, file: Path) -> Path:
    """Write another network of the same data as it is; ``NAME=CHECKPOINT`` says which."""
    name, _, checkpoint = named.partition("=")
    if not file.exists():
        other = {**vars(bench.arguments), "model": name, "checkpoint": Path(checkpoint)}
        model, _ = named_network(argparse.Namespace(**other))
        bench.write(model.eval(), file)
    return file
