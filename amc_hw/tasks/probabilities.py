"""Whether a network gives probabilities, as behind a sigmoid, where its scores before that are wanted."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from amc_hw.tracing.inputs import spread
from amc_hw.tracing.same import outputs

LARGE = 100
"""Factor on every weight that makes the scores of an untrained network leave 0..1."""


def gives_probabilities(model: nn.Module, inputs: Any) -> bool:
    """Tell whether all that a network gives lies from 0 to 1, and would with large weights: small scores would not."""
    return are_within_0_and_1(_given(model, inputs)) and are_within_0_and_1(
        _given(_with_large_weights(model), tree_map(_double, inputs))
    )


def are_within_0_and_1(scores: Any) -> bool:
    """Tell whether scores may be probabilities, as far as they alone tell."""
    return isinstance(scores, Tensor) and bool(((scores >= 0) & (scores <= 1)).all())


def _given(model: nn.Module, inputs: Any) -> Any:
    try:
        return outputs(spread(model, inputs), inputs)
    except Exception:  # whatever a forward raises; the trace names it
        return None


def _with_large_weights(model: nn.Module) -> nn.Module:
    large = copy.deepcopy(model).double()
    with torch.no_grad():
        for weight in large.parameters():
            weight.mul_(LARGE)
    return large


def _double(each: Any) -> Any:
    return each.double() if isinstance(each, Tensor) and each.is_floating_point() else each
