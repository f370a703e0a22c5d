"""Who takes part in the league, and the parts it is made of: one contestant with one budget and one seed each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from torch import nn
from ways import Bench, Tried, searched_in_float, smaller
from ways_amc import by_amc
from ways_one_ratio import by_one_ratio
from ways_torch_pruning import IMPORTANCES, by_torch_pruning

from amc_hw.errors import RunFolderError, UsageError, unknown_name
from amc_hw.pipeline.compress import PROOFS
from amc_hw.policy import Precision
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.protocol import HEADROOM, Protocol
from amc_hw.runs.files import make_folder, read_json, write_json
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.classification import evaluate_file

ORIGINAL = "original"
SEARCHED = ("uniform", "random", "knapsack", "greedy")
OURS = ("ddpg", "auto")
Prunes = Callable[[Bench, float, Path, int], nn.Module]
"""Makes a network, pruned and fine-tuned, for a budget; what it keeps on the way has names that begin with a stem."""


@dataclass(frozen=True)
class Result:
    """What a contestant came to.

    Attributes:
        way: the contestant.
        precision: of its file.
        budget: the share of the original's latency that it was to keep; None where it was not asked.
        seed: of search and fine-tuning; None where nothing depends on it.
        top1: accuracy of the file on the test set, 0..1.
        ms: latency of the file.
        original_ms: the float original's, timed in turns with it.
    """

    way: str
    precision: Precision
    budget: float | None
    seed: int | None
    top1: float
    ms: float
    original_ms: float

    @property
    def share(self) -> float:
        """Latency as a share of the original's."""
        return self.ms / self.original_ms


@dataclass(frozen=True)
class Part:
    """One contestant with one budget and one seed, in a folder of its own.

    Attributes:
        way: the contestant.
        precision: of its file.
        make: makes the file, or goes on with it; takes the part's folder.
        budget: see `Result`.
        seed: see `Result`.
    """

    way: str
    precision: Precision
    make: Callable[[Bench, Path], Path]
    budget: float | None = None
    seed: int | None = None

    def __str__(self) -> str:
        return self.way if self.budget is None else f"{self.way}-{self.budget:g}x-seed{self.seed}"

    def folder(self, out: Path) -> Path:
        return out / self.precision / re.sub(r"[^\w.-]+", "-", str(self)).strip("-")

    def result(self, bench: Bench) -> Result:
        """Return what the part came to; what is finished is not repeated."""
        file = self.folder(bench.out) / "result.json"
        if not file.exists():
            make_folder(file.parent)
            write_json(file, asdict(self._measured(bench, self.make(bench, file.parent))))
        return read_result(file)

    def _measured(self, bench: Bench, made: Path) -> Result:
        timings = benchmark(bench.device, {"original": bench.original, "made": made}, Protocol(), SILENT)
        top1 = evaluate_file(made, bench.trained.data.test, SILENT)
        ms = (timings["made"].latency_ms, timings["original"].latency_ms)
        return Result(self.way, self.precision, self.budget, self.seed, top1, *ms)


def read_result(file: Path) -> Result:
    """Read what a part came to; raise RunFolderError where the file is damaged."""
    try:
        return Result(**read_json(file))
    except TypeError as error:
        raise RunFolderError(f"{file} is damaged; remove it and run the same command again.") from error


def read_results(out: Path) -> list[Result]:
    """Return everything that is finished in a league's folder."""
    return [read_result(file) for file in sorted(out.glob("*/*/result.json"))]


def stock_parts(smaller_ones: Sequence[str], precision: Precision) -> list[Part]:
    """Return who does not prune: the original, the same in int8, and smaller networks (``NAME=CHECKPOINT``).

    Raises:
        UsageError: one of these names no checkpoint, or two are of one name.
    """
    names = [named.partition("=")[0] for named in smaller_ones]
    if not all("=" in named for named in smaller_ones) or len({ORIGINAL, *names}) <= len(names):
        raise UsageError("--smaller takes NAME=CHECKPOINT, each name once; resnet20=resnet20.pt.")

    def quantized(bench: Bench, folder: Path) -> Path:
        return bench.write(bench.trained.model, folder / "model.tflite", "int8")

    def stock(named: str, bench: Bench, folder: Path) -> Path:
        return smaller(bench, named, folder / "model.tflite")

    parts = [Part(ORIGINAL, "fp32", lambda bench, folder: bench.original), Part(ORIGINAL, "int8", quantized)]
    pairs = zip(names, smaller_ones, strict=True)
    return parts + [Part(name, precision, partial(stock, named)) for name, named in pairs]


def contestants(precision: Precision) -> dict[str, Callable[[float, int], Part]]:
    """Return who prunes by name, the quickest first; each takes a budget and a seed."""
    is_float = precision == "fp32"
    ways: dict[str, Callable[[Bench, float, Path, int], Path]] = {}
    for importance in IMPORTANCES:
        for suffix, everywhere in (("", False), ("-global", True)):
            prunes: Prunes = partial(by_torch_pruning, importance=importance, everywhere=everywhere)
            ways[f"tp-{importance}{suffix}"] = partial(proved, prunes)
    ways["one-ratio"] = partial(proved, by_one_ratio)
    for name in SEARCHED:
        in_float = partial(proved, partial(searched_in_float, strategy=name))
        ways[name] = partial(compressed, name) if is_float else in_float
    ways["amc"] = partial(written, partial(by_amc, tightened=False))
    ways["amc-tightened"] = partial(proved, partial(by_amc, tightened=True))
    if not is_float:
        ways["auto-in-float"] = partial(proved, searched_in_float)
    ways |= {name: partial(compressed, name) for name in OURS}
    return {name: partial(_part, name, precision, way) for name, way in ways.items()}


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the contestants that were asked for, in the order of those known; all of them where none was.

    Raises:
        UsageError: there is no such contestant.
    """
    for name in names:
        if name not in known:
            raise unknown_name("contestant", name, known)
    return [name for name in known if not names or name in names]


def _part(
    name: str, precision: Precision, way: Callable[[Bench, float, Path, int], Path], budget: float, seed: int
) -> Part:
    return Part(name, precision, lambda bench, folder: way(bench, budget, folder, seed), budget, seed)


def written(prunes: Prunes, bench: Bench, budget: float, folder: Path, seed: int) -> Path:
    file = folder / "model.tflite"
    if not file.exists():
        bench.write(prunes(bench, budget, folder / "part", seed), file)
    return file


def proved(prunes: Prunes, bench: Bench, budget: float, folder: Path, seed: int) -> Path:
    """Make a file whose proof keeps the budget: after one that misses, a smaller network is made, as runs do it."""
    used, aim = Tried(folder / "proofs.json", lambda aim: bench.share(file, Protocol()) / budget), budget
    for _ in range(PROOFS):
        file = written(prunes, bench, aim, make_folder(folder / f"for-{aim:.4f}x"), seed)
        if (share := used(aim)) <= 1:
            break
        aim *= HEADROOM / share
    return file


def compressed(strategy: str, bench: Bench, budget: float, folder: Path, seed: int) -> Path:
    settings = {"precision": bench.precision, "strategy": strategy}
    return bench.run(folder / "run", f"{budget:g}x", bench.arguments.epochs, seed, **settings)
