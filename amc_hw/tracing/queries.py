"""Which weights the queries of attention are proportional to.

Attention divides its scores by the root of the width of its heads, and often the code reads that width from a shape. A
network whose heads lose width computes the same scores again where these weights take the root of the share that stays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.inputs import is_float
from amc_hw.tracing.kinds import Weighted
from amc_hw.tracing.leaves import channel_dim, is_leaf
from amc_hw.tracing.operator import Rows
from amc_hw.tracing.same import random_like

_PRODUCTS = (
    *(F.scaled_dot_product_attention, torch.matmul, torch.bmm, torch.einsum),
    *(Tensor.matmul, Tensor.bmm, Tensor.__matmul__),
)
_TOLERANCE = 1e-6


class FirstOperands(TorchFunctionMode):
    """In its ``with`` block, shows the first operand of every product of activations, of an attention its queries.

    Args:
        see: is given it before the product runs.
    """

    def __init__(self, see: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func in _PRODUCTS:
            given = (each for each in (*args, *kwargs.values()) if not isinstance(each, str))
            first = next(given, None)
            self._see(first[0] if isinstance(first, list | tuple) else first)  # type: ignore[arg-type]
        return func(*args, **kwargs)


def find_queries(model: nn.Module, example_input: Any) -> list[Rows]:
    """Return for every product of activations the weights that its first operand is proportional to; often none.

    These are the layers whose results it is made of, or the parameters of a norm between, or both: whatever is a
    function of which it is a linear one without a constant, as its derivatives tell (Euler's theorem).

    Args:
        model: a network in evaluation mode; it is not changed.
        example_input: what it takes.
    """
    model = copy.deepcopy(model).double().requires_grad_(False)
    inputs = tree_map(_in_double, random_like(example_input))
    leaves = [(name, module) for name, module in model.named_modules() if is_leaf(module)]
    inside = {id(parameter) for _, module in leaves for parameter in module.parameters()}
    bare = {name: p.requires_grad_() for name, p in model.named_parameters() if id(p) not in inside}
    given: list[tuple[str, nn.Module, Tensor]] = []
    found: list[Rows] = []

    def begin(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            given.append((name, module, output.detach().requires_grad_()))
            return given[-1][2].clone()  # which may be changed in place

        return hook

    def see(queries: Tensor) -> None:
        found.append(_proportional(queries, given, bare) if queries.requires_grad else {})

    for name, module in leaves:
        if isinstance(module, Weighted):
            module.register_forward_hook(begin(name))
    with torch.enable_grad(), attention_by_parts(), FirstOperands(see):  # as it is followed
        try:
            model(inputs)
        except Exception:  # whatever a forward raises of which derivatives are asked
            return []
    return found


def _proportional(
    queries: Tensor, given: Sequence[tuple[str, nn.Module, Tensor]], bare: Mapping[str, Tensor]
) -> dict[str, NDArray[np.bool_]]:
    """Return what a tensor is proportional to: of results of layers and of parameters; nothing where it is to none."""
    some = (queries * random_like(queries)).sum()
    tensors = [*(output for *_, output in given), *bare.values()]
    slopes = torch.autograd.grad(some, tensors, retain_graph=True, allow_unused=True)
    of_layers = [
        (name, output, slope, channel_dim(module, output))
        for (name, module, output), slope in zip(given, slopes, strict=False)
        if slope is not None
    ]
    of_bare = [
        (name, tensor, slope, max(range(slope.dim()), key=lambda dim: slope.shape[dim]))
        for (name, tensor), slope in zip(bare.items(), slopes[len(given) :], strict=True)
        if slope is not None and slope.dim()
    ]
    for some_of in (of_layers, of_bare, [*of_layers, *of_bare]):
        total = sum((float((tensor.detach() * slope).sum()) for _, tensor, slope, _ in some_of), 0.0)
        if abs(total - some.item()) <= _TOLERANCE * abs(some.item()):
            return {name: _used(slope, dim) for name, _, slope, dim in some_of}
    return {}


def _used(slope: Tensor, dim: int) -> NDArray[np.bool_]:
    """Return where along a dimension anything counts."""
    return ((slope != 0).movedim(dim, 0).flatten(1).any(1) if slope.dim() > 1 else slope != 0).cpu().numpy()


def _in_double(value: Any) -> Any:
    return value.double() if is_float(value) else value
