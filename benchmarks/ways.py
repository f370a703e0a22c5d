"""Ways to make one network fast enough on one device: what benchmarks share that hold some against each other.

Budgets are shares of what the float32 original takes, measured in turns with it. Everybody's network is fine-tuned by
the same call as a run's: as many epochs of the same images, by the same recipe, with the original as the teacher.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

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
from amc_hw.profiling.protocol import HEADROOM, QUICK
from amc_hw.runs.config import make_config
from amc_hw.runs.files import write_json
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.goal import Finetuning
from amc_hw.training.recipe import SMALL

TRIES = 4
"""Searches whose budget is moved until the file takes as long as it may; the last one that fits stays."""
STEPS = 7
"""Bisections of a pruning ratio."""
MOST_PRUNED, LARGEST_BUDGET = 0.9, 0.95
LEAST_USED = 0.95
BUSY = "run it again on a quiet machine, or with a larger budget."


class Bench:
    """One network on one device, with what every way needs.

    Args:
        arguments: the options of `named_network.network_parser`, with ``episodes`` and ``out``.
        device: where files are timed.
        precision: that the files have.
    """

    def __init__(self, arguments: argparse.Namespace, device: Device, precision: Precision) -> None:
        model, data = named_network(arguments)
        self.arguments, self.device, self.precision = arguments, device, precision
        self.trained: TrainedModel = make_trained_model(model, data, precision=precision)
        self.out = Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.original = self.out / "original.tflite"
        if not self.original.exists():
            export(self.trained.model, self.trained.example, self.original)

    def file(self, model: nn.Module, file: Path, precision: Precision | None = None) -> Path:
        """Write a network as a file; in an integer precision it is quantized after training."""
        precision = precision or self.precision
        export(model, self.trained.example, file, precision, None if precision == "fp32" else self.trained.calibration)
        return file

    def share(self, file: Path) -> float:
        """Return the latency of a file as a share of the float original's."""
        timings = benchmark(self.device, {"original": self.original, "other": file}, QUICK, SILENT)
        return timings["other"].latency_ms / timings["original"].latency_ms

    def alone(self) -> float:
        """Return what the network takes without pruning in the bench's precision, as a share of the float original's.

        It is measured once, so that searches that begin from it are found again.
        """
        if self.precision == "fp32":
            return 1.0
        return Tried(lambda _: self.share(self.int8_alone()), self.out / "alone.json")(1.0)

    def int8_alone(self) -> Path:
        """Return the file of the network in int8 without pruning; written once."""
        file = self.out / "alone.tflite"
        return file if file.exists() else self.file(self.trained.model, file, "int8")

    def used(self, model: nn.Module, budget: float) -> float:
        """Return the share of a budget that a network uses; its file is not kept."""
        with TemporaryDirectory() as folder:
            return self.share(self.file(model, Path(folder) / "tried.tflite")) / budget

    def run(self, folder: Path, budget: str, epochs: int, seed: int, **settings: str) -> Path:
        """Compress, or go on; return the file."""
        one = self.arguments
        config = make_config(
            model=one.model,
            checkpoint=one.checkpoint,
            data=one.data,
            data_root=one.data_root,
            latency=budget,
            episodes=one.episodes,
            epochs=epochs,
            seed=seed,
            **settings,
        )
        with progress_bar() as progress:
            compress(folder, config, progress)
        return folder / "model.tflite"

    def finetuned(self, model: nn.Module, seed: int, state: Path | None = None) -> nn.Module:
        """Fine-tune a network that was pruned in another way as runs do theirs; it goes on from a state."""
        task = self.trained.task
        with progress_bar() as progress:
            learn_search = task.training_images >= SMALL
            how = Finetuning(self.arguments.epochs, seed, learn_search, progress, state)
            if how.epochs:
                task.finetune(model.requires_grad_(True), self.trained.model, how)
        return model.eval()


class Tried:
    """Remembers what shares of a budget were found used, in a file, so that what goes on takes the same way.

    Args:
        used: asked to prune by so much, the share of the budget that the network uses.
        file: where the answers are kept.
    """

    def __init__(self, used: Callable[[float], float], file: Path) -> None:
        self._used, self._file = used, file
        self._known: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def __call__(self, asked: float) -> float:
        key = f"{asked:.4f}"
        if key not in self._known:
            self._known[key] = self._used(asked)
            write_json(self._file, self._known)
        return self._known[key]

    def forget(self) -> None:
        """Measure again the next time: nothing was fast enough, and the machine may have been busy."""
        self._file.unlink(missing_ok=True)


def moved(first: float, used: Tried) -> float:
    """Return the budget to search with, moved from a first one until the network fits the one that counts.

    Raises:
        BudgetError: none of `TRIES` did.
    """
    wanted, best = min(LARGEST_BUDGET, first), None
    for _ in range(TRIES):
        share = used(wanted)
        if share <= 1:
            best = wanted
            if share >= LEAST_USED:
                break
        wanted = min(LARGEST_BUDGET, wanted * 0.985 / share)
    if best is None:
        used.forget()
        raise BudgetError(f"none of {TRIES} moved budgets gave a network that is fast enough; {BUSY}")
    return best


def bisected(used: Tried) -> float:
    """Return the least pruning ratio that was found to fit.

    Raises:
        BudgetError: not even `MOST_PRUNED` does.
    """
    low, high, fits = 0.0, MOST_PRUNED, False
    for _ in range(STEPS):
        middle = (low + high) / 2
        share = used(middle)
        low, high, fits = (low, middle, True) if share <= HEADROOM else (middle, high, fits)
        if LEAST_USED <= share <= HEADROOM:
            break
    if not fits and used(MOST_PRUNED) > HEADROOM:
        used.forget()
        raise BudgetError(f"a pruning ratio of {MOST_PRUNED} does not reach the latency; {BUSY}")
    return high


def searched_in_float(bench: Bench, budget: float, stem: Path, seed: int, strategy: str = "auto") -> nn.Module:
    """Search in float32, with a budget that is moved until the quantized file is fast enough; return the fine-tuned.

    Args:
        bench: the network.
        budget: of the quantized file, a share of what the float32 original takes.
        stem: run folders are called so, and by which budget.
        seed: of the runs.
        strategy: of the search.
    """

    def run(wanted: float, epochs: int) -> nn.Module:
        folder = stem.with_name(f"{stem.name}-by-{wanted:.4f}x")
        bench.run(folder, f"{wanted:.4f}x", epochs, seed, precision="fp32", strategy=strategy)
        return load(folder)

    tried = Tried(lambda wanted: bench.used(run(wanted, 0), budget), stem.with_name(f"{stem.name}-tried.json"))
    return run(moved(budget / bench.alone(), tried), bench.arguments.epochs)


def smaller(bench: Bench, named: str, file: Path) -> Path:
    """Write a smaller network of the same data, ``NAME=CHECKPOINT``, as it is."""
    name, _, checkpoint = named.partition("=")
    if not file.exists():
        other = {**vars(bench.arguments), "model": name, "checkpoint": Path(checkpoint)}
        model, _ = named_network(argparse.Namespace(**other))
        bench.file(model.eval(), file)
    return file
