"""Convolutions and linear layers of bare parameters: a forward that calls F.conv2d or F.linear with its own tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypedDict, cast

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from amc_hw.tracing.kinds import Weighted

KINDS: dict[Any, type[Any]] = {
    functional.linear: nn.Linear,
    functional.conv1d: nn.Conv1d,
    functional.conv2d: nn.Conv2d,
    functional.conv3d: nn.Conv3d,
}
"""The functions that layers compute with, each with the layer."""
_OPERANDS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


class Operands(TypedDict, total=False):
    """What a function of `KINDS` is called with, by its own names; what is left out has the function's default."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: int | tuple[int, ...]
    padding: int | str | tuple[int, ...]
    dilation: int | tuple[int, ...]
    groups: int


Run: TypeAlias = Callable[[Operands, Callable[[], Weighted], Callable[[], Tensor]], "Tensor | None"]


class FunctionalLayers(TorchFunctionMode):
    """In its ``with`` block, hands calls such as ``F.conv2d(x, self.weight)`` to a function: layers without a module.

    Args:
        run: called with the operands by name, with what makes a layer of the same shape (on the meta device: its
            weights have no values) and with what runs the call as it is. It returns the call's result, or None where
            the call is to run as it is.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func in KINDS:
            operands = operands_of(args, kwargs)
            if _is_layer(KINDS[func], operands):
                output = self._run(operands, lambda: _layer(KINDS[func], operands), lambda: func(*args, **kwargs))
                if output is not None:
                    return output
        return func(*args, **kwargs)


def operands_of(args: Any, kwargs: Mapping[str, Any]) -> Operands:
    """Return what a function of `KINDS` is called with, by its own names."""
    return cast(Operands, {**dict(zip(_OPERANDS, args, strict=False)), **kwargs})


def _is_layer(kind: type[Any], operands: Operands) -> bool:
    """Tell whether a call is a layer's, of a batch, without groups of several channels."""
    weight, groups = operands["weight"], operands.get("groups", 1)
    if kind is nn.Linear:
        return bool(weight.dim() == 2)
    depthwise = weight.shape[1] == 1 and groups == weight.shape[0]
    return bool((groups == 1 or depthwise) and operands["input"].dim() == weight.dim())


def _layer(kind: type[Any], operands: Operands) -> Weighted:
    weight, groups = operands["weight"], operands.get("groups", 1)
    if kind is nn.Linear:
        return nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    sizes = (weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]))
    return kind(*sizes, operands.get("stride", 1), groups=groups, device="meta")  # type: ignore[no-any-return]
