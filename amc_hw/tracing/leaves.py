"""The modules that a trace follows as a whole, and the tensors that go in and out of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from amc_hw.tracing.kinds import Convolution, Weighted


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is followed as a whole, and can be cut: plain weights, no parametrization."""
    if not isinstance(module, Weighted | nn.modules.batchnorm._BatchNorm | nn.PReLU | nn.Embedding):
        return False
    return not nn.utils.parametrize.is_parametrized(module) and (
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        or isinstance(module._parameters.get("weight"), nn.Parameter)
    )


def tensors_in(values: Any) -> list[Tensor]:
    """Return the tensors of a structure: of what a forward takes, by place or by keyword, or gives."""
    return [leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor)]


def channel_dim(module: nn.Module, x: Tensor) -> int:
    """Return the dimension of a leaf's input or output that its channels are along."""
    if isinstance(module, Convolution):
        return x.dim() - 1 - len(module.kernel_size)
    return x.dim() - 1 if isinstance(module, nn.Linear) else 1
