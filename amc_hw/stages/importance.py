"""How much every channel matters to the loss, for strategies that weigh channels against what they cost."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.pruning.pruner import Pruner
from amc_hw.stages.subject import Subject

IMAGES = 256
BATCH = 32


def channel_importance(subject: Subject, pruner: Pruner, seed: int) -> dict[str, list[float]]:
    """Return the Taylor importance of every group's channels, in the order in which the pruner keeps them.

    A channel's importance is the change of the loss, to first order, when the layer that makes it loses it
    (Molchanov et al., arXiv:1906.10771, section 3.1): the square of gradient times value, over the
    batch norm's scale and shift where one follows, over the weights otherwise; a mean over small batches of
    training images. A group that several layers make adds them up.

    Args:
        subject: the network and its data.
        pruner: whose order is followed.
        seed: decides which training images are looked at.
    """
    model = copy.deepcopy(subject.start).eval()
    sums = {group.name: torch.zeros(group.channels) for group in subject.network.groups}
    images, labels = subject.data.train.first(IMAGES, seed)
    for inputs, targets in zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True):
        model.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(inputs), targets))
        modules = dict(model.named_modules())
        for group in subject.network.groups:
            made = {m.module: m.positions for m in group.members if m.side == "out"}
            norms = [name for name in made if isinstance(modules.get(name), nn.BatchNorm2d)]
            layers = [name for name in made if isinstance(modules.get(name), nn.Conv2d | nn.Linear)]
            for name in norms or layers:
                change = _changes(modules[name])[torch.as_tensor(made[name])].flatten(1).sum(1)
                sums[group.name] += change.square()
    order = {group.name: _order(pruner, group.name, group.channels) for group in subject.network.groups}
    return {name: importance[order[name]].tolist() for name, importance in sums.items()}


def _changes(module: nn.Module) -> Tensor:
    """Return gradient times value of a module's parameters, summed for each of its outputs."""
    known = [(p.detach(), p.grad) for p in module.parameters(recurse=False) if p.grad is not None]
    return torch.stack([(value * gradient).reshape(len(value), -1).sum(1) for value, gradient in known]).sum(0)


def _order(pruner: Pruner, group: str, channels: int) -> list[int]:
    """Return the channels of a group, the one that is kept longest first."""
    order: list[int] = []
    for count in range(1, channels + 1):
        order += set(pruner.kept({group: count})[group]) - set(order)
    return order
