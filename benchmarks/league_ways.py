"""Who takes part in the league: every way by its name, from a budget to the finished file."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from torch import nn
from ways import Bench, searched_in_float, smaller
from ways_amc import as_amc


class Way(Protocol):
    """Makes a network fast enough, and fine-tunes it; goes on with what a stopped call left in the folder."""

    def __call__(self, bench: Bench, budget: float, folder: Path, seed: int) -> Path:
        """Return the file in the bench's precision."""


def run(bench: Bench, budget: float, folder: Path, seed: int, *, strategy: str) -> Path:
    """A run of amc-hw, in the precision from its first measurement on."""
    return bench.run(
        folder / "run",
        f"{budget:g}x",
        bench.arguments.epochs,
        seed,
        precision=bench.precision,
        strategy=strategy,
    )


def run_in_float(bench: Bench, budget: float, folder: Path, seed: int, *, strategy: str) -> Path:
    """A run of amc-hw in float32, then quantized where the league is in another precision."""
    if bench.precision == "fp32":
        return run(bench, budget, folder, seed, strategy=strategy)
    return _written(bench, searched_in_float(bench, budget, folder / "float", seed, strategy), folder)


def torch_pruning(
    bench: Bench, budget: float, folder: Path, seed: int, *, importance: str, everywhere: bool = False
) -> Path:
    from ways_torch_pruning import by_torch_pruning

    model = by_torch_pruning(bench, budget, folder / "pruned", seed, importance, everywhere=everywhere)
    return _written(bench, model, folder)


def amc(bench: Bench, budget: float, folder: Path, seed: int, *, tightened: bool) -> Path:
    """AMC's way; the first search by MACs is that of both, of the latency as it is and of the tightened one."""
    searches = folder.parent.parent / "amc" / folder.name / "searched"
    searches.parent.mkdir(parents=True, exist_ok=True)
    model = as_amc(bench, budget, searches, seed, tightened=tightened)
    return _written(bench, bench.finetuned(model, seed, folder / "state.pt"), folder)


def _written(bench: Bench, model: nn.Module, folder: Path) -> Path:
    return bench.file(model, folder / "model.tflite")


TORCH_PRUNING: dict[str, Way] = {
    f"tp-{importance}{suffix}": partial(torch_pruning, importance=importance, everywhere=bool(suffix))
    for importance in ("magnitude", "norm", "taylor")
    for suffix in ("", "-global")
}
WAYS: dict[str, Way] = {
    **TORCH_PRUNING,
    **{name: partial(run_in_float, strategy=name) for name in ("uniform", "random", "knapsack", "greedy")},
    **{name: partial(run, strategy=name) for name in ("auto", "ddpg")},
    "amc-macs": partial(amc, tightened=False),
    "amc": partial(amc, tightened=True),
}
"""In the order in which they run: those that need no search first."""


def missing_package(ways: list[str]) -> str:
    """Return what to install before ways can take part, a sentence; empty where all can."""
    if find_spec("torch_pruning") is None and any(way in TORCH_PRUNING for way in ways):
        return "torch-pruning is not installed; run: pip install torch-pruning, or name the others with --only."
    return ""


def stock(bench: Bench, smaller_ones: list[str]) -> dict[str, Path]:
    """Return the files of what nobody pruned, by name: the original, it in int8, and smaller networks.

    Args:
        bench: the network.
        smaller_ones: NAME=CHECKPOINT of each smaller one.
    """
    files = {"original": bench.original, "int8 alone": bench.int8_alone()}
    for named in smaller_ones:
        name = named.partition("=")[0]
        files[name] = smaller(bench, named, bench.out / f"{name}-{bench.precision}.tflite")
    return files
