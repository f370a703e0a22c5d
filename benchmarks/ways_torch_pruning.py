"""Torch-Pruning's ways: one pruning ratio, by three importances, for every group or over all of them."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from ways import MOST_PRUNED, Bench, Tried, bisected

from amc_hw.errors import UnsupportedModelError, first_line
from amc_hw.pipeline.trained import TrainedModel

IMPORTANCES = ("magnitude", "norm", "taylor")
TAYLOR_IMAGES = 640


def pruned(
    trained: TrainedModel, ratio: float, importance: str = "norm", *, everywhere: bool = False, seed: int = 0
) -> nn.Module:
    """Return the network without a share of its channels, those of the least importance.

    Both prune the same groups: Torch-Pruning cuts what feeds ResNet's constant shortcuts, and the network fails then.

    Args:
        trained: the network.
        ratio: of the channels that go.
        importance: of `IMPORTANCES`.
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
            round_to=4,
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

    def of(ratio: float) -> nn.Module:
        return pruned(bench.trained, ratio, importance, everywhere=everywhere, seed=seed)

    tried = Tried(stem.with_name(f"{stem.name}-tried.json"), lambda ratio: bench.used(of(ratio), budget))
    return bench.finetuned(of(bisected(tried)), seed, stem.with_name(f"{stem.name}-state.pt"))
