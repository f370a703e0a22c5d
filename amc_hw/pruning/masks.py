"""Fine-grained pruning: single weights become zero, the smallest first, and stay zero while the network learns."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from amc_hw.policy import Policy

PARTS = 50
"""Keep ratios are fiftieths of a layer's weights, of which both caps are whole numbers."""
CAPS = {"conv": 0.8, "linear": 0.98}
"""Most of a layer's weights that one round takes (AMC's, arXiv:1802.03494)."""


def part_choices(kind: Literal["conv", "linear"], most: int = PARTS) -> tuple[int, ...]:
    """Return the parts of a layer's weights that may be kept, ascending; its cap is of the ``most`` that are left."""
    return tuple(range(max(1, math.ceil(most * (1 - CAPS[kind]) - 1e-9)), most + 1))


def kept_weights(weights: int, parts: int) -> int:
    """Return how many of so many weights ``parts`` fiftieths are, at least one."""
    return max(1, weights * parts // PARTS)


class MagnitudePruner:
    """Sets the smallest weights of layers to zero; the same policy always gives the same network.

    Args:
        model: the network; it is not changed.
        layers: names of its convolutions and linear layers.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str]) -> None:
        self._model = copy.deepcopy(model).eval()
        modules = dict(self._model.named_modules())
        sizes = {name: _weight(modules[name]).detach().flatten().abs() for name in layers}
        self._orders = {name: size.argsort(descending=True, stable=True) for name, size in sizes.items()}
        self._sizes = {name: size[self._orders[name]] for name, size in sizes.items()}

    def pruned(self, policy: Policy) -> nn.Module:
        """Return a copy of the network in which every layer keeps its largest weights.

        Args:
            policy: layer name -> the parts of its weights that stay, 1 to `PARTS`.
        """
        model = copy.deepcopy(self._model)
        modules = dict(model.named_modules())
        for name, parts in policy.items():
            weight, order = _weight(modules[name]), self._orders[name]
            mask = torch.ones_like(order, dtype=weight.dtype)
            mask[order[kept_weights(len(order), parts) :]] = 0
            weight.data.mul_(mask.view_as(weight))
        return model

    def importance(self, most: Mapping[str, int]) -> dict[str, list[float]]:
        """Return for every layer how much of its weights' squared sum each of its first ``most`` parts holds."""
        importance = {}
        for name, size in self._sizes.items():
            share = size.double().square().cumsum(0) / size.double().square().sum().clamp(min=1e-30)
            ends = [0.0, *(float(share[kept_weights(len(size), part) - 1]) for part in range(1, most[name] + 1))]
            importance[name] = [max(0.0, high - low) for low, high in itertools.pairwise(ends)]
        return importance


@contextmanager
def zeros_held(model: nn.Module, layers: Iterable[str]) -> Iterator[None]:
    """Keep the zero weights of layers zero for the length of a block, however the network is trained in it.

    They get no gradient, so no momentum either, and weight decay leaves zeros alone.
    """
    modules = dict(model.named_modules())
    weights: list[Any] = [_weight(modules[name]) for name in layers]
    handles = [weight.register_hook(_masked(weight)) for weight in weights]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def nonzero_weights(model: nn.Module, layers: Iterable[str]) -> dict[str, int]:
    """Return how many weights of every layer are not zero."""
    modules = dict(model.named_modules())
    return {name: int(_weight(modules[name]).count_nonzero()) for name in layers}


def _masked(weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * (weight != 0)


def _weight(layer: Any) -> nn.Parameter:
    weight: nn.Parameter = layer.weight
    return weight
