"""Torch-Pruning's ways: one pruning ratio, by three importances, for every group or over all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from ways import MOST_PRUNED, Bench, Tried, bisected

from amc_hw.errors import BudgetError, UnsupportedModelError, first_line
from amc_hw.pipeline.trained import TrainedModel

IMPORTANCES = ("magnitude", "norm", "taylor")
TAYLOR_IMAGES = 640
ROUNDINGS = (4, 1)
"""Multiples that channels are rounded to. Torch-Pruning leaves a group whole that would keep less than one multiple."""


def pruned(
    trained: TrainedModel,
    ratio: float,
    importance: str = "norm",
    *,
    rounding: int = 4,
    everywhere: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Return the network without a share of its channels, those of the least importance.

    Both prune the same groups: Torch-Pruning cuts what feeds ResNet's constant shortcuts, and the network fails then.

    Args:
        trained: the network.
        ratio: of the channels that go.
        importance: of `IMPORTANCES`.
        rounding: of `ROUNDINGS`.
        everywhere: the ratio is of the channels of all groups together, and not of every group's.
        seed: of the images whose gradients Taylor's importance looks at.

    Raises:
        UnsupportedModelError: Torch-Pruning is not there, or cannot prune the network.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise UnsupportedModelError("Torch-Pruning is not installed; pip install torch-pruning.") from error
    model = copy.deepcopy(trained.model).requires_grad_(True)
    cut = {member.module for group in trained.network.groups for member in group.members if member.side == "out"}
    left = [
        layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear) and name not in cut
    ]
    found = torch_pruning.importance
    named = {  # as Torch-Pruning's documentation makes them
        "magnitude": lambda: found.GroupMagnitudeImportance(p=1, group_reduction="first"),
        "norm": lambda: found.GroupMagnitudeImportance(p=2),
        "taylor": found.GroupTaylorImportance,
    }
    try:
        pruner = torch_pruning.pruner.MetaPruner(
            model,
            trained.example,
            importance=named[importance](),
            global_pruning=everywhere,
            pruning_ratio=ratio,
            max_pruning_ratio=MOST_PRUNED,
            ignored_layers=left,
            round_to=rounding,
        )
        if importance == "taylor":
            _gather_gradients(model, trained, seed)
        pruner.step()
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            model.eval()(trained.example)
    except Exception as error:  # whatever another tool raises
        raise UnsupportedModelError(f"Torch-Pruning cannot prune this network: {first_line(error)}.") from error
    return model


def _gather_gradients(model: nn.Module, trained: TrainedModel, seed: int) -> None:
    images, labels = trained.task.statistics(TAYLOR_IMAGES, seed)
    for some, classes in zip(images.split(64), labels.split(64), strict=True):
        functional.cross_entropy(model(some), classes, reduction="sum").backward()


def by_torch_pruning(
    bench: Bench, budget: float, stem: Path, seed: int, importance: str = "norm", *, everywhere: bool = False
) -> nn.Module:
    """Prune until the file is fast enough, and fine-tune.

    What is kept on the way has names that begin with a stem.
    """

    def of(ratio: float, rounding: int) -> nn.Module:
        return pruned(bench.trained, ratio, importance, rounding=rounding, everywhere=everywhere, seed=seed)

    found = rounded_ratio(lambda ratio, rounding: bench.used(of(ratio, rounding), budget), stem)
    return bench.finetuned(of(*found), seed, stem.with_name(f"{stem.name}-state.pt"))


def rounded_ratio(used: Callable[[float, int], float], stem: Path) -> tuple[float, int]:
    """Return the least ratio that is fast enough by any of the roundings, and this.

    Args:
        used: the share of the budget that is used with a ratio and a rounding.
        stem: the names of the files of what was measured begin with it.

    Raises:
        BudgetError: there is none.
    """
    found, failed = [], []
    for rounding in ROUNDINGS:
        file = stem.with_name(f"{stem.name}-rounded-{rounding}-tried.json")
        try:
            found.append((bisected(Tried(file, partial(used, rounding=rounding))), rounding))
        except BudgetError as error:
            failed.append(error)
    if not found:
        raise failed[0]
    return min(found)
