"""Maps that are expanded for arithmetic: of those that LiteRT's converter lays channels last, it expands wrong sides.

A product with `weights.expand_as(maps)`, as squeeze-and-excitation is often written, broadcasts by itself as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_EXPANDS = frozenset({"expand", "expand_as", "repeat", "tile", "broadcast_to"})
_BROADCASTS = frozenset({"add", "sub", "mul", "div", "truediv", "subtract", "multiply", "divide", "true_divide"})
"""Arithmetic by its names, without underscores and the signs of reflected and in-place forms."""
_BROADCASTS |= {"maximum", "minimum", "where", "pow", "lerp", "addcmul"}
_BROADCASTS |= {"sigmoid", "hardsigmoid", "tanh", "relu", "exp", "sqrt", "rsqrt", "reciprocal", "neg", "abs", "clamp"}


class Unexpanded(TorchFunctionMode):
    """Has arithmetic take expanded maps as they were before; what is repeated otherwise is concatenated."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", "")).strip("_")
        if func is F.normalize:
            return _normalized(*args, **kwargs)
        if name in _EXPANDS and args and isinstance(args[0], Tensor) and args[0].dim() == 4:
            return _expanded(func, name, args, kwargs)
        if name in _BROADCASTS or (name[:1] in ("i", "r") and name[1:] in _BROADCASTS):
            return _broadcast(func, args, kwargs)
        return func(*args, **kwargs)


def _expanded(func: Any, name: str, args: Any, kwargs: Any) -> Any:
    before = args[0]
    if name in ("repeat", "tile"):
        counts = kwargs.get("repeats", kwargs.get("dims", args[1:]))
        counts = counts[0] if len(counts) == 1 and not isinstance(counts[0], int) else counts
        if len(counts) > before.dim():
            return func(*args, **kwargs)
        counts = (1,) * (before.dim() - len(counts)) + tuple(counts)
        if any(count > 1 and size > 1 for count, size in zip(counts, before.shape, strict=True)):
            whole = before
            for dim, count in enumerate(counts):
                whole = torch.cat([whole] * count, dim) if count > 1 else whole
            return whole
    whole = func(*args, **kwargs)
    whole.before_expanding = before
    return whole


def _broadcast(func: Any, args: Any, kwargs: Any) -> Any:
    """Call arithmetic with what was there before it was expanded; expand what comes of it where that is missing."""
    plain = tree_map(lambda each: getattr(each, "before_expanding", each), (args, kwargs))
    result = func(*plain[0], **plain[1])
    sizes = [each.shape for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    whole = torch.broadcast_shapes(*sizes) if sizes else None  # type: ignore[no-untyped-call]
    if whole is None or not isinstance(result, Tensor) or result.shape == whole:
        return result
    expanded: Any = result.expand(whole)
    expanded.before_expanding = result
    return expanded


def _normalized(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Return what `torch.nn.functional.normalize` does, which expands the lengths that it divides by."""
    lengths: Tensor = input.norm(p, dim, keepdim=True)
    return torch.div(input, lengths.clamp_min(eps), out=out)
