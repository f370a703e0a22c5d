"""Whether a network that was rewritten still computes the same: its outputs are held against those it came from."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

TOLERANCE = 1e-3
"""Largest difference of outputs that rounding is taken for, a fraction of the range of the output's values."""

SEVERAL = 2
"""Images that networks are compared on: with one alone, reshapes pass that several do not."""


def random_like(example: Any) -> Any:
    """Return random values of an example's shapes: zeros would hide what a network does."""
    generator = torch.Generator().manual_seed(0)

    def drawn(each: Any) -> Any:
        if not isinstance(each, Tensor) or not each.is_floating_point():
            return each
        return torch.randn(each.shape, generator=generator, dtype=each.dtype).to(each.device)

    return tree_map(drawn, example)


def outputs(model: nn.Module, example: Any) -> Any:
    """Return what a network gives in evaluation mode, without the rounding that a GPU does on its own account."""
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return model(example)
    finally:
        for module in was_training:
            module.training = True


def computes_the_same(model: nn.Module, rewritten: nn.Module, example: Any) -> bool:
    """Tell whether two networks give the same for an example; one that does not run, or gives NaN, does not."""
    try:
        return relative_difference(outputs(model, example), outputs(rewritten, example)) <= TOLERANCE
    except Exception:  # whatever a forward raises that looks into what was rewritten
        return False


def relative_difference(one: Any, other: Any) -> float:
    """Return the largest difference of two outputs' tensors, relative to the range of the first one's values.

    It is infinite where they are built differently, or where it cannot be told: NaN, other values than tensors.
    """
    (ours, built), (theirs, built_too) = tree_flatten(one), tree_flatten(other)
    if built != built_too or not ours:
        return math.inf
    return max(_leaf_difference(mine, yours) for mine, yours in zip(ours, theirs, strict=True))


def _leaf_difference(one: Any, other: Any) -> float:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        plain = isinstance(one, bool | int | float | str | None) and type(one) is type(other)
        return 0.0 if plain and one == other else math.inf
    if one.shape != other.shape or one.dtype != other.dtype:
        return math.inf
    if not one.numel():
        return 0.0
    one, other = one.double(), other.double()
    largest = float((one - other).abs().max())
    size = float(one.max() - one.min()) or float(one.abs().max())
    return 0.0 if largest == 0 else largest / size if size > 0 and math.isfinite(largest) else math.inf
