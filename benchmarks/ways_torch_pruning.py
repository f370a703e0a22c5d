"""Torch-Pruning's ways: a ratio for all channels, by three importances, in every layer or over all of them."""

from __future__ import annotations

import copy
from pathlib import Path

import torch_pruning
from torch import nn
from torch.nn import functional
from ways import MOST_PRUNED, Bench, Tried, bisected

from amc_hw.errors import UnsupportedModelError, first_line
from amc_hw.pipeline.trained import TrainedModel

TAYLOR_IMAGES = 640


def importance(name: str) -> torch_pruning.importance.Importance:
    """Return an importance as Torch-Pruning's documentation makes it: of a layer's filters, of groups, by gradients."""
    found = torch_pruning.importance
    if name == "magnitude":
        return found.GroupMagnitudeImportance(p=1, group_reduction="first")
    return found.GroupTaylorImportance() if name == "taylor" else found.GroupMagnitudeImportance(p=2)


def pruned(
    trained: TrainedModel, ratio: float, name: str = "norm", *, everywhere: bool = False, seed: int = 0
) -> nn.Module:
    """Return the network without a share of its channels, those of the least importance.

    Both prune the same groups: Torch-Pruning cuts what feeds ResNet's constant shortcuts, and the network fails then.

    Args:
        trained: the network.
        ratio: of the channels that go.
        name: ``magnitude``, ``norm`` or ``taylor``.
        everywhere: the ratio is one of all channels together, and not of every group's.
        seed: of the images whose gradients tell.

    Raises:
        UnsupportedModelError: Torch-Pruning cannot prune it.
    """
    model = copy.deepcopy(trained.model).requires_grad_(True)
    cut = {member.module for group in trained.network.groups for member in group.members if member.side == "out"}
    left = [
        layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear) and name not in cut
    ]
    try:
        pruner = torch_pruning.pruner.MetaPruner(
            model,
            trained.example,
            importance=importance(name),
            global_pruning=everywhere,
            pruning_ratio=ratio,
            max_pruning_ratio=MOST_PRUNED,
            ignored_layers=left,
            round_to=4,
        )
        if name == "taylor":
            images, labels = trained.task.statistics(TAYLOR_IMAGES, seed)
            functional.cross_entropy(model(images), labels).backward()
        pruner.step()
        model.zero_grad(set_to_none=True)
        model(trained.example)
    except Exception as error:  # whatever another tool raises
        raise UnsupportedModelError(f"Torch-Pruning cannot prune this network: {first_line(error)}.") from error
    return model.eval()


def by_torch_pruning(
    bench: Bench, budget: float, stem: Path, seed: int, name: str = "norm", *, everywhere: bool = False
) -> nn.Module:
    """Prune until the file is fast enough, and fine-tune; what is kept on the way has names that begin with a stem."""

    def of(ratio: float) -> nn.Module:
        return pruned(bench.trained, ratio, name, everywhere=everywhere, seed=seed)

    tried = Tried(lambda ratio: bench.used(of(ratio), budget), stem.with_name(f"{stem.name}-tried.json"))
    return bench.finetuned(of(bisected(tried)), seed, stem.with_name(f"{stem.name}-state.pt"))
