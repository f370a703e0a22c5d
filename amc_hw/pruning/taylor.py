"""How much every channel matters to the loss, by the first order of its Taylor expansion."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.data.labels import label_loss
from amc_hw.errors import UsageError
from amc_hw.pruning.filters import as_filters
from amc_hw.tracing.inputs import is_float, parts, size_of, taken, tensors_of
from amc_hw.tracing.kinds import Weighted
from amc_hw.tracing.network import ChannelGroup
from amc_hw.tracing.slicing import width

IMAGES = 256
BATCH = 32


def taylor_importance(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    images: Any,
    labels: Tensor | None = None,
    seed: int = 0,
    *,
    of_outputs: bool = False,
) -> dict[str, Tensor]:
    """Return the Taylor importance (channels,) of every group's channels, on the CPU.

    A channel's importance is the change of the loss, to first order, when the layer that makes it loses it
    (Molchanov et al., arXiv:1906.10771, section 3.1): the square of gradient times value, over the
    batch norm's scale and shift where one follows, over the weights otherwise; a mean over small batches of
    images. A group that several layers make adds them up.

    Without labels, classes are drawn from what the network itself predicts. The squared gradients are then those
    of the Fisher information, and the importance is how far the predictions move, to second order (Theis et al.,
    arXiv:1801.05787, section 2). The most probable class would not do: where the network is sure, its gradient is zero.
    Outputs of other kinds can be weighed in the same way, if asked for.

    Args:
        model: gives scores (N, classes or labels), or anything with ``of_outputs``; it is not changed.
        groups: of its channels.
        images: (N, C, H, W), on the model's device; the first 256 are looked at.
        labels: their classes, int64 (N,), or several labels (N, labels); see `amc_hw.data.labels`.
        seed: of the drawn classes.
        of_outputs: take any other outputs, too: what counts is then how far they move.

    Raises:
        UsageError: the network gives no class scores.
    """
    model = copy.deepcopy(model).eval().requires_grad_(True)
    modules = dict(model.named_modules())
    makers = {group.name: _makers(group, modules) for group in groups}
    sums = {group.name: torch.zeros(group.channels) for group in groups}
    generator = torch.Generator().manual_seed(seed)
    batches = parts(taken(images, slice(IMAGES)), BATCH)
    for number, inputs in enumerate(batches):
        model.zero_grad()
        outputs = model(inputs)
        if _are_scores(outputs) or not of_outputs:
            known = None if labels is None else labels[number * BATCH : number * BATCH + size_of(inputs)]
            loss = _loss_of_scores(outputs, known, generator)
        else:
            loss = _loss_of_outputs(outputs, generator)
        torch.autograd.backward(loss)
        for name, made in makers.items():
            for module, positions in made:
                sums[name] += _changes(module)[positions].sum(1).square() / len(batches)
    return sums


def _are_scores(outputs: Any) -> bool:
    """Tell whether outputs can be scores of several classes."""
    return isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.shape[1] > 1


def _loss_of_scores(scores: Any, labels: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return the cross-entropy of scores (N, classes or labels); classes that are not known are drawn by them."""
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        raise UsageError(
            "Taylor importance needs a network that gives one score for each class; choose the importance "
            "'reconstruction' or 'magnitude'."
        )
    if labels is None:
        labels = torch.multinomial(scores.detach().softmax(1).cpu(), 1, generator=generator)[:, 0]
    return label_loss(scores, labels.to(scores.device))


def _loss_of_outputs(outputs: Any, generator: torch.Generator) -> Tensor:
    """Return a loss whose squared gradients are the Fisher information of outputs, taken for means of normal numbers.

    Targets are drawn about the outputs themselves, with the standard deviation that each output's values have.
    """
    losses = []
    for output in (each for each in tensors_of(outputs) if is_float(each)):
        noise = torch.randn(output.shape, generator=generator).to(output.device)
        losses.append(
            (output * noise / output.detach().std().clamp_min(1e-6)).sum(tuple(range(1, output.dim()))).mean()
        )
    if not losses:
        raise UsageError("the network gives no floating-point numbers, so there is nothing to weigh channels by.")
    return torch.stack(losses).sum()


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
