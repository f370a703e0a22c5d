"""The optimizer of a training: SGD where batch norms stand behind the weights, AdamW where they do not."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import nn

OptimizerName = Literal["sgd", "adamw"]
ParameterGroup: TypeAlias = dict[str, list[nn.Parameter] | float]
"""Parameters (``params``) with what holds for them (``weight_decay``)."""
LONGEST_GRADIENT = 1.0
"""Norm over which gradients are shortened before AdamW takes a step."""


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
    """Change the parameters by their gradients, which AdamW's are shortened for."""
    if isinstance(optimizer, torch.optim.AdamW):
        torch.nn.utils.clip_grad_norm_(
            [each for group in optimizer.param_groups for each in group["params"]], LONGEST_GRADIENT
        )
    optimizer.step()


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[ParameterGroup]:
    """Return the optimizer's groups: weight decay for weights, none for biases and norms."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
