"""Reductions of maps as LiteRT's converter lays them channels last: those that keep their sides of one pixel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_REDUCTIONS = {each for name in ("mean", "sum", "amax") for each in (getattr(torch, name), getattr(Tensor, name))}


class KeptSides(TorchFunctionMode):
    """Reduces maps to one pixel and takes its sides away afterwards; otherwise the maps would be transposed before."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        if func in _REDUCTIONS:
            return _reduced(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _reduced(func: Any, input: Tensor, *by_place: Any, **named: Any) -> Any:
    dim = named.get("dim", by_place[0] if by_place else None)
    keeps = named.get("keepdim", len(by_place) > 1 and by_place[1])
    if keeps or input.dim() != 4 or not isinstance(dim, tuple | list) or {each % 4 for each in dim} != {2, 3}:
        return func(input, *by_place, **named)
    others = {name: value for name, value in named.items() if name not in ("dim", "keepdim")}
    return func(input, dim, keepdim=True, **others).flatten(1)
