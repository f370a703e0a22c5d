"""How much every channel matters to the loss, by the first order of its Taylor expansion."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.errors import UsageError
from amc_hw.pruning.filters import as_filters
from amc_hw.tracing.kinds import Weighted
from amc_hw.tracing.network import ChannelGroup
from amc_hw.tracing.slicing import width

IMAGES = 256
BATCH = 32


def taylor_importance(
    model: nn.Module, groups: Sequence[ChannelGroup], images: Tensor, labels: Tensor | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Return the Taylor importance (channels,) of every group's channels, on the CPU.

    A channel's importance is the change of the loss, to first order, when the layer that makes it loses it
    (Molchanov et al., arXiv:1906.10771, section 3.1): the square of gradient times value, over the
    batch norm's scale and shift where one follows, over the weights otherwise; a mean over small batches of
    images. A group that several layers make adds them up.

    Without labels, classes are drawn from what the network itself predicts. The squared gradients are then those
    of the Fisher information, and the importance is how far the predictions move, to second order (Theis et al.,
    arXiv:1801.05787, section 2). The most probable class would not do: where the network is sure, its gradient is zero.

    Args:
        model: gives class scores (N, classes); it is not changed.
        groups: of its channels.
        images: (N, C, H, W), on the model's device; the first 256 are looked at.
        labels: their classes, int64 (N,).
        seed: of the drawn classes.

    Raises:
        UsageError: the network gives no class scores.
    """
    model = copy.deepcopy(model).eval().requires_grad_(True)
    modules = dict(model.named_modules())
    makers = {group.name: _makers(group, modules) for group in groups}
    sums = {group.name: torch.zeros(group.channels) for group in groups}
    generator = torch.Generator().manual_seed(seed)
    batches = torch.split(images[:IMAGES], BATCH)
    for number, inputs in enumerate(batches):
        model.zero_grad()
        scores = model(inputs)
        if not isinstance(scores, Tensor) or scores.dim() != 2:
            raise UsageError(
                "Taylor importance needs a network that gives one score for each class; choose the importance "
                "'reconstruction' or 'magnitude'."
            )
        if labels is None:
            chances = scores.detach().softmax(1).cpu()
            targets = torch.multinomial(chances, 1, generator=generator)[:, 0]
        else:
            targets = labels[number * BATCH : number * BATCH + len(inputs)]
        torch.autograd.backward(F.cross_entropy(scores, targets.to(scores.device)))
        for name, made in makers.items():
            for module, positions in made:
                sums[name] += _changes(module)[positions].sum(1).square() / len(batches)
    return sums


def _makers(group: ChannelGroup, modules: Mapping[str, nn.Module]) -> list[tuple[nn.Module, Tensor]]:
    """Return what makes a group's channels, with their positions (channels, k): batch norms, or layers without one."""
    made = {m.module: torch.as_tensor(m.positions) for m in group.members if m.side == "out"}
    norms = [name for name in made if isinstance(modules.get(name), nn.modules.batchnorm._BatchNorm)]
    layers = [name for name in made if isinstance(modules.get(name), Weighted)]
    scaled = [name for name in norms if modules[name].weight is not None]
    return [(modules[name], made[name]) for name in scaled or layers]


def _changes(module: Any) -> Tensor:
    """Return gradient times value of a module's weight and bias, summed for each of its outputs."""
    total = torch.zeros(width(module, "out"))
    for name in ("weight", "bias"):
        parameter = getattr(module, name)
        if parameter is not None and parameter.grad is not None:
            change = parameter.detach() * parameter.grad
            rows = as_filters(module, change) if name == "weight" and isinstance(module, Weighted) else change
            total += rows.reshape(len(total), -1).sum(1).cpu()
    return total
