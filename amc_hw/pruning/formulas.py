"""What layers really compute: a class says what a module is called, its forward what it does.

Subclasses pad what comes in, standardise or round their weights, or add to their result. Here the calls of F.linear,
F.batch_norm, F.conv2d and the other convolutions are seen, wherever they are made, and belong to the module whose own
tensors they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from amc_hw.tracing.kinds import Weighted
from amc_hw.tracing.leaves import is_leaf

BatchNorm = nn.modules.batchnorm._BatchNorm
Size = int | tuple[int, ...]
_LAYERS = {functional.linear, functional.conv1d, functional.conv2d, functional.conv3d}
_TRANSPOSED = {functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d}


@dataclass(frozen=True)
class Operands:
    """What F.conv2d, another convolution or F.linear is called with, by its own names."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: Size = 1
    padding: Size | str = 0
    dilation: Size = 1
    groups: int = 1
    output_padding: Size = 0
    transposed: bool = False


@dataclass(frozen=True)
class Normed:
    """What F.batch_norm is called with, by its own names."""

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


class Formulas(TorchFunctionMode):
    """Calls back where modules compute their formula with their own tensors; the callbacks' work is not seen.

    Args:
        modules: by name; of these the convolutions, linear layers and batch norms with running statistics.
        before: called with a layer's name and operands, before it computes.
        after: called with a layer's name and result.
        norm_before: called with a batch norm's name and input.
        norm_after: called with a batch norm's name, input and result.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *,
        before: Callable[[str, Operands], None] | None = None,
        after: Callable[[str, Tensor], None] | None = None,
        norm_before: Callable[[str, Tensor], None] | None = None,
        norm_after: Callable[[str, Tensor, Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self._before, self._after = before, after
        self._norm_before, self._norm_after = norm_before, norm_after
        self._layers: dict[int, tuple[str, Any]] = {}
        self._norms: dict[int, tuple[str, Any]] = {}
        for name, module in modules.items():
            if is_fitted_kind(module):
                self._layers[id(module.weight)] = (name, module)
            elif isinstance(module, BatchNorm) and module.running_mean is not None:
                self._norms[id(module.running_mean)] = (name, module)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch; call back where it is a module's formula."""
        kwargs = kwargs or {}
        if func in _LAYERS or func in _TRANSPOSED:
            return self._layer(func, args, kwargs)
        if func is functional.batch_norm:
            return self._norm(func, args, kwargs)
        return func(*args, **kwargs)

    def _layer(self, func: Any, args: Any, kwargs: Any) -> Any:
        operands = _operands(func, args, kwargs)
        name, module = self._layers.get(id(operands.weight), ("", None))
        if module is None or operands.bias is not module.bias:
            return func(*args, **kwargs)
        if self._before is not None:
            self._before(name, operands)
        output = func(*args, **kwargs)
        if self._after is not None:
            self._after(name, output)
        return output

    def _norm(self, func: Any, args: Any, kwargs: Any) -> Any:
        normed = Normed(*args, **kwargs)
        name, module = self._norms.get(id(normed.running_mean), ("", None))
        if module is None or normed.weight is not module.weight or normed.bias is not module.bias:
            return func(*args, **kwargs)
        if self._norm_before is not None:
            self._norm_before(name, normed.input)
        output = func(*args, **kwargs)
        if self._norm_after is not None:
            self._norm_after(name, normed.input, output)
        return output


def is_fitted_kind(module: nn.Module) -> bool:
    """Tell whether a module is a convolution or linear layer with plain weights; not whether it computes with them."""
    return isinstance(module, Weighted) and is_leaf(module)


def _operands(func: Any, args: Any, kwargs: Any) -> Operands:
    if func in _TRANSPOSED:  # whose operands come in another order
        names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
        return Operands(**dict(zip(names, args, strict=False)), **kwargs, transposed=True)
    return Operands(*args, **kwargs)


@torch.no_grad()
def computed_from_own_weights(model: nn.Module, example_input: Any) -> set[str]:
    """Return the convolutions and linear layers of a model whose weights are multiplied as they are, not changed."""
    names: set[str] = set()
    with Formulas(dict(model.named_modules()), before=lambda name, _: names.add(name)):
        model(example_input)
    return names


@torch.no_grad()
def take_statistics(norm: Any, x: Tensor) -> None:
    """Replace a batch norm's running mean and variance by those of an input (N, C, ...)."""
    rows = x.transpose(0, 1).flatten(1)
    norm.running_mean.copy_(rows.mean(1))
    norm.running_var.copy_(rows.var(1))
