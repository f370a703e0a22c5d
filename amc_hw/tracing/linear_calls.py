"""Layers whose weights a forward hands to `F.linear` itself, as windowed attention does: seen as if called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from amc_hw.tracing.functional import operands_of


def linear_layers(model: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> dict[int, str]:
    """Return the names of a model's linear layers by the identity of their weights."""
    return {id(m.weight): name for name, m in model.named_modules() if isinstance(m, nn.Linear) and is_leaf(m)}


class LinearCalls(TorchFunctionMode):
    """Calls back where `F.linear` computes with the weight of a layer, in place of computing.

    Args:
        layers: names of layers by the identity of their weights.
        call: takes a layer's name, its input, and what computes; returns the result.
    """

    def __init__(self, layers: Mapping[int, str], call: Callable[[str, Tensor, Callable[[], Tensor]], Tensor]) -> None:
        super().__init__()
        self._layers = layers
        self._call = call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func is functional.linear:
            named = operands_of(args, kwargs)
            name = self._layers.get(id(named["weight"]))
            if name is not None:
                return self._call(name, named["input"], lambda: func(*args, **kwargs))
        return func(*args, **kwargs)
