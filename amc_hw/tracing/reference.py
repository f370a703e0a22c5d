"""Operators that mix channels, computed from some of them only: what a cut network is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.leaves import is_leaf
from amc_hw.tracing.operator import MIXING


def mix_only_kept(model: nn.Module, gone: Mapping[int, NDArray[np.intp]]) -> None:
    """Let operators of a network mix only some of their channels from now on, in place.

    Args:
        model: in evaluation mode.
        gone: by the number of an operator of `MIXING`, the positions that it does not see.
    """
    forward, inside = model.forward, _Inside()
    for module in model.modules():
        if is_leaf(module):
            module.register_forward_pre_hook(inside.enter)
            module.register_forward_hook(inside.leave)

    def only_kept(*args: Any, **kwargs: Any) -> Any:
        with attention_by_parts(), _OnlyKept(gone, inside):
            return forward(*args, **kwargs)

    model.forward = only_kept  # type: ignore[method-assign]


class _Inside:
    """How many of the modules that a trace follows as a whole are running: their operators have no numbers."""

    def __init__(self) -> None:
        self.depth = 0

    def enter(self, *_: Any) -> None:
        self.depth += 1

    def leave(self, *_: Any) -> None:
        self.depth -= 1


class _OnlyKept(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, gone: Mapping[int, NDArray[np.intp]], inside: _Inside) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gone = gone
        self._inside = inside
        self._number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, numbered as in the trace."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        mixes = name in MIXING and not self._inside.depth
        self._number += mixes
        if not mixes or self._number not in self._gone:
            return func(*args, **kwargs)
        gone = torch.as_tensor(self._gone[self._number])
        mixed: Callable[..., Any] = _MIXED.get(name, _reduced)
        return mixed(func, gone, *args, **kwargs)


def _kept(gone: Tensor, size: int) -> Tensor:
    stays = torch.ones(size, dtype=torch.bool)
    stays[gone] = False
    return stays.nonzero().flatten()


def _layer_norm(func: Any, gone: Tensor, x: Tensor, shape: list[int], *rest: Any) -> Any:
    """Normalise over the elements of the last dimensions that stay; the others are zero."""
    flat = x.flatten(x.dim() - len(shape))
    kept = _kept(gone, flat.size(-1))
    rest = tuple(part.flatten()[kept] if isinstance(part, Tensor) else part for part in rest)
    normed, *others = func(flat[..., kept], [len(kept)], *rest)
    full = torch.zeros_like(flat)
    full[..., kept] = normed
    return (full.view(x.shape), *others)


def _group_norm(func: Any, gone: Tensor, x: Tensor, *rest: Any) -> Any:
    """Normalise over the channels of each group that stay; the others are zero."""
    *parameters, images, channels, area, groups, eps = rest
    kept = _kept(gone, channels)
    some = tuple(part[kept] if isinstance(part, Tensor) else part for part in parameters)
    normed, *others = func(x[:, kept].contiguous(), *some, images, len(kept), area, groups, eps)
    full = torch.zeros_like(x)
    full[:, kept] = normed
    return (full, *others)


def _product(func: Any, gone: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Sum over the positions of the inner dimension that stay."""
    *before, one, other = args
    kept = _kept(gone, one.size(2))
    return func(*before, one[:, :, kept], other[:, kept], **kwargs)


def _reduced(func: Any, gone: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Reduce over the elements of all reduced dimensions that stay."""
    place = 1 if func.overloadpacket.__name__ == "linalg_vector_norm" else 0
    over = sorted(dim % x.dim() for dim in args[place])
    flat = x.movedim(over, tuple(range(x.dim() - len(over), x.dim()))).flatten(x.dim() - len(over))
    some = func(flat[..., _kept(gone, flat.size(-1))], *args[:place], [-1], *args[place + 1 :], **kwargs)
    return tree_map(lambda part, whole: part.reshape(whole.shape), some, func(x, *args, **kwargs))


_MIXED: dict[str, Callable[..., Any]] = {
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "bmm": _product,
    "baddbmm": _product,
}
