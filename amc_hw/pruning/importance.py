"""Which channels of a group to keep: rankings by name, most important first.

A ranking is made once for a group and does not depend on the policy: a policy that keeps n channels keeps the first n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from amc_hw.errors import unknown_name
from amc_hw.pruning.contexts import LayerContext
from amc_hw.pruning.filters import filters, kernel_area
from amc_hw.pruning.least_squares import Reading, elimination_order, factor
from amc_hw.pruning.positions import Fitted
from amc_hw.pruning.statistics import Gram
from amc_hw.tracing.kinds import Weighted, in_one_group, loses_inputs
from amc_hw.tracing.network import ChannelGroup


@dataclass(frozen=True)
class Evidence:
    """What a ranking may look at.

    Attributes:
        modules: of the original, by name.
        grams: of the inputs of its layers; a layer that is too wide has none.
        contexts: of its layers.
        taylor: gives the Taylor importance (channels,) of every group; it is computed at its first use.
    """

    modules: Mapping[str, nn.Module]
    grams: Mapping[str, Gram]
    contexts: Mapping[str, LayerContext]
    taylor: Callable[[], Mapping[str, Tensor]]
    _inverses: dict[str, Tensor] = field(default_factory=dict)

    def inverse(self, name: str) -> Tensor:
        """Return the inverse Gram matrix of a layer with one group; it is made at its first use."""
        if name not in self._inverses:
            self._inverses[name] = torch.cholesky_inverse(factor(self.grams[name].matrix)[0])
        return self._inverses[name]


@dataclass(frozen=True)
class Consumer:
    """A layer that reads a group's channels, and the columns (channels, k) of its weights that belong to each."""

    name: str
    layer: Fitted
    columns: Tensor


def consumers(group: ChannelGroup, modules: Mapping[str, nn.Module]) -> list[Consumer]:
    """Return the layers that read the group's channels.

    Convolutions that lose whole filters together with their inputs, depthwise ones, are not among them.
    """
    found = []
    for member in group.members:
        layer = modules.get(member.module)
        if member.side == "in" and isinstance(layer, Weighted) and loses_inputs(layer):
            area = kernel_area(layer)
            positions = in_one_group(layer, torch.as_tensor(member.positions)).view(group.channels, -1)
            columns = (positions[:, :, None] * area + torch.arange(area)).flatten(1)
            found.append(Consumer(member.module, layer, columns))
    return found


def magnitude(group: ChannelGroup, evidence: Evidence) -> Tensor:
    """Rank by the sum of |W| over the weights that read a channel, as AMC does."""
    scores = torch.zeros(group.channels)
    for consumer in consumers(group, evidence.modules):
        size = filters(consumer.layer).detach().abs().sum(0).cpu()
        scores += size[consumer.columns].sum(1)
    return scores.argsort(descending=True, stable=True)


def reconstruction(group: ChannelGroup, evidence: Evidence) -> Tensor:
    """Rank by backward elimination: the error that least squares cannot make up for, over all readers.

    Readers are weighed alike, by their own variance; their outputs by the batch norm that follows. A group with a
    reader that has no Gram matrix is ranked by magnitude.
    """
    readers = consumers(group, evidence.modules)
    if not readers or any(
        reader.name not in evidence.grams or len(evidence.grams[reader.name].matrix) > 1 for reader in readers
    ):
        return magnitude(group, evidence)
    return elimination_order(group.channels, [_reading(reader, evidence) for reader in readers])


def _reading(reader: Consumer, evidence: Evidence) -> Reading:
    weights = filters(reader.layer).detach().double()
    norm = evidence.contexts[reader.name].norm_of(evidence.modules)
    if norm is not None:
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        weights = weights * (scale if norm.weight is None else scale * norm.weight.detach().double())[:, None]
    variance = ((weights @ evidence.grams[reader.name].matrix[0]) * weights).sum()
    index = reader.columns.flatten()
    inverse = evidence.inverse(reader.name)[index][:, index]
    return Reading(inverse, weights[:, index] / variance.clamp(min=1e-30).sqrt())


def taylor(group: ChannelGroup, evidence: Evidence) -> Tensor:
    """Rank by the change of the loss; see `amc_hw.pruning.taylor`."""
    return evidence.taylor()[group.name].argsort(descending=True, stable=True)


Ranking = Callable[[ChannelGroup, Evidence], Tensor]
RANKINGS: dict[str, Ranking] = {
    "magnitude": magnitude,
    "reconstruction": reconstruction,
    "taylor": taylor,
}


def find_ranking(name: str) -> Ranking:
    """Return the ranking of that name; raise UsageError with the nearest name where there is none."""
    if name not in RANKINGS:
        raise unknown_name("importance", name, RANKINGS, "importance")
    return RANKINGS[name]
