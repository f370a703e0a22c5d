"""Layers that run, and whose results nothing depends on that the network gives, such as heads that only learn.

Cutting their channels changes no output, so that no proof by outputs can tell whether it is right: they stay whole.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.same import random_like


def unheard_layers(model: nn.Module, names: Sequence[str], example_input: Any) -> set[str]:
    """Return the layers whose weights the network's outputs do not depend on.

    An output depends on weights that a gradient of it arrives at. Where none does (behind a comparison or an argmax),
    other weights are tried; a network that does not run with gradients is taken to depend on all of them.

    Args:
        model: a copy in evaluation mode; it is not changed.
        names: of layers, or of bare parameters that a forward multiplies with.
        example_input: what it takes; only its shape counts.
    """
    model = copy.deepcopy(model).requires_grad_(True)
    weights = {name: weight for name in names if (weight := _weight_of(model, name)) is not None}
    example = tree_map(random_like, example_input)
    try:
        with attention_by_parts(), torch.enable_grad():
            given = [each for each in _outputs(model, example) if each.requires_grad]
            total = sum((each.abs().sum() for each in given), torch.zeros((), requires_grad=True))
        gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
        silent = [name for name, gradient in zip(weights, gradients, strict=True) if gradient is None]
        return {name for name in silent if not _is_heard(model, weights[name], example)}
    except Exception:  # whatever a forward raises that is not made for gradients
        return set()


def _weight_of(model: nn.Module, name: str) -> nn.Parameter | None:
    parent, _, leaf = name.rpartition(".")
    found = getattr(model.get_submodule(parent), leaf)
    weight = found if isinstance(found, nn.Parameter) else getattr(found, "weight", None)
    return weight if isinstance(weight, nn.Parameter) else None


@torch.no_grad()
def _is_heard(model: nn.Module, weight: nn.Parameter, example: Any) -> bool:
    """Tell whether outputs change with some weights."""
    before, kept = _outputs(model, example), weight.clone()
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).to(weight)
    weight.add_(10 * (weight.abs().mean() + 1) * noise)
    after = _outputs(model, example)
    weight.copy_(kept)
    return not all(map(torch.equal, before, after))


def _outputs(model: nn.Module, example: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(model(example))[0] if isinstance(leaf, Tensor)]
