"""The optimizer of a training: SGD where batch norms stand behind the weights, AdamW where they do not."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import nn

OptimizerName = Literal["sgd", "adamw"]
ParameterGroup: TypeAlias = dict[str, list[nn.Parameter] | float]
"""Parameters (``params``) with what holds for them (``weight_decay``)."""
LONGEST_GRADIENT = 1.0
"""Norm over which gradients are shortened before AdamW takes a step; SGD's are not where they are below."""
LEAP = 10.0
"""Of the norm of gradients lately, beyond which they are shortened before SGD takes a step."""
_LATELY, _FADING = "log_of_norm_lately", 0.98


def suited_optimizer(model: nn.Module) -> OptimizerName:
    """Return what a network learns by.

    Behind a batch norm the size of a weight has no effect, so that SGD's steps turn large weights little. Among layer
    norms and attention, or without any norm, nothing brakes it: least squares leave large weights in a pruned
    transformer, and SGD at a convolutional network's rate diverges on them. AdamW (arXiv:1711.05101) with shortened
    gradients is what transformers are trained by (arXiv:2012.12877, table 9).
    """
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    weights = sum(each.ndim > 1 for each in model.parameters())
    return "sgd" if 2 * norms >= weights else "adamw"


def make_optimizer(model: nn.Module, name: OptimizerName, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Return an optimizer of a network's parameters."""
    groups = _parameter_groups(model, weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr)
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """Change the parameters by their gradients, shortened: AdamW's to a fixed norm, SGD's where they leap.

    A single step can undo what thousands have learned, where a network divides by what may be nearly 0 (linear
    attention). So gradients that are `LEAP` times as long as they have been lately are shortened to that; "lately" is a
    geometric mean that fades (as Seetharaman et al. 2020, arXiv:2007.14469, clip by the norms seen so far).
    """
    groups = optimizer.param_groups
    parameters = [each for group in groups for each in group["params"]]
    gradients = [each.grad for each in parameters if each.grad is not None]
    if isinstance(optimizer, torch.optim.AdamW):
        torch.nn.utils.clip_grad_norm_(parameters, LONGEST_GRADIENT)
    elif gradients:
        norm = torch.nn.utils.get_total_norm(gradients).clamp_min(torch.finfo(torch.float32).tiny).log()
        lately = groups[0].get(_LATELY, norm)
        longest = (lately + math.log(LEAP)).clamp_min(math.log(LONGEST_GRADIENT))
        shortened = torch.minimum(norm, longest)
        torch._foreach_mul_(gradients, (shortened - norm).exp())
        groups[0][_LATELY] = _FADING * lately + (1 - _FADING) * shortened
    optimizer.step()


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[ParameterGroup]:
    """Return the optimizer's groups: weight decay for weights, none for biases and norms."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
