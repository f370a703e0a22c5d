"""The number format in which tensors are worked on: bfloat16 where a device multiplies in it and is faster so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {F.conv1d: 6, F.conv2d: 6, F.conv3d: 6}
"""Each with the place of its groups among the operands."""


def fast_in_bfloat16(device: torch.device) -> bool:
    """Tell whether a device multiplies in bfloat16 itself: GPUs, and processors with AVX-512 BF16 or AMX."""
    if device.type != "cpu":
        return device.type == "cuda"
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) is True for name in ("avx512_bf16", "amx_bf16"))


def fast_scoring(device: torch.device) -> AbstractContextManager[object]:
    """Return what networks are scored in on a device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_in_bfloat16(device))


@contextmanager
def fast_training(device: torch.device) -> Iterator[None]:
    """Have what follows computed in the number format that a device is fast in, also where gradients are asked for.

    Of grouped convolutions (depthwise ones most of all) oneDNN has no quick gradient in bfloat16: on a processor they
    are trained in float32 among others in bfloat16.
    """
    with fast_scoring(device):
        if device.type == "cpu" and fast_in_bfloat16(device):
            with _GroupedInFloat32():
                yield
        else:
            yield


class _GroupedInFloat32(TorchFunctionMode):
    """Computes grouped convolutions in float32 while gradients are asked for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        place = _CONVOLUTIONS.get(func)
        if place is None or not torch.is_grad_enabled() or _groups(place, args, kwargs) == 1:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_in_float32, args), **{name: _in_float32(value) for name, value in kwargs.items()})


def _groups(place: int, args: Any, kwargs: Mapping[str, Any]) -> int:
    return int(kwargs.get("groups", args[place] if len(args) > place else 1))


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype is torch.bfloat16 else value
