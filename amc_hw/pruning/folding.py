"""Batch-norms folded into the convolutions and linear layers before them: the same function, computed faster."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from amc_hw.pruning.contexts import find_contexts
from amc_hw.tracing.inputs import moved
from amc_hw.tracing.kinds import Transposed
from amc_hw.tracing.same import computes_the_same, random_like


def fold_batch_norms(model: nn.Module, images: Any) -> nn.Module:
    """Return an evaluation copy without the batch-norms that directly follow a layer, alone, both called once.

    The copy is held against the network on random images. Where it computes something else (a forward that uses a
    weight in another way, too), it is a plain copy.

    Args:
        model: the network; it is not changed.
        images: what it takes (N, C, H, W); only their shape counts. They are moved to where the model is.
    """
    smaller = _frozen(model)
    weight = next(smaller.parameters(), None)
    images = random_like(images)
    images = images if weight is None else moved(images, weight.device)
    try:
        _fold(smaller, images)
    except Exception:  # whatever a forward raises that takes no images; whoever calls it next will tell
        return _frozen(model)
    return smaller if computes_the_same(model, smaller, images) else _frozen(model)


def _frozen(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def _fold(model: nn.Module, images: Any) -> None:
    """Fold the batch norms of a network, in place."""
    modules: Mapping[str, Any] = dict(model.named_modules())
    names = [(name, module) for name, module in model.named_modules(remove_duplicate=False)]
    for name, context in find_contexts(model, images).items():
        layer, norm = modules[name], context.norm_of(modules)
        if norm is None or not context.is_formula or type(norm).forward is not nn.BatchNorm2d.forward:
            continue
        transposed = isinstance(layer, Transposed)
        if transposed and layer.groups > 1:  # PyTorch's function does not fold these
            continue
        of_norm = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        if isinstance(layer, nn.Linear):
            layer.weight, layer.bias = fuse_linear_bn_weights(layer.weight, layer.bias, *of_norm)
        else:
            layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *of_norm, transpose=transposed)
        for place, module in names:
            if module is norm:
                parent, _, leaf = place.rpartition(".")
                setattr(model.get_submodule(parent), leaf, nn.Identity().eval())
