"""Layers whose forward computes the weights that it multiplies with, such as standardised ones, made plain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from amc_hw.tracing.functional import KINDS, Operands, operands_of
from amc_hw.tracing.kinds import Weighted

_OPTIONS: tuple[Literal["stride", "padding", "dilation"], ...] = ("stride", "padding", "dilation")
MARK = "effective"
"""An empty buffer of a layer that was made plain: a checkpoint tells by it which weights it holds."""


class PaddedConv2d(nn.Conv2d):
    """A convolution of a map with zeros around it, different ones on each side: (left, right, above, below)."""

    pads: tuple[int, ...] = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve."""
        return super().forward(functional.pad(x, self.pads))


@dataclass
class _Seen:
    """What one layer did: what it took, what its formula was called with and gave, and what it gave."""

    taken: list[Tensor] = field(default_factory=list)
    called: list[tuple[Any, Operands, Tensor]] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)


class _Watch(TorchFunctionMode):
    """Notes what is called in the forward of layers that have one of their own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.seen: dict[str, _Seen] = {}
        self._inside: list[str] = []
        self._hooks = []
        for name, module in layers_with_own_forward(model).items():
            self._hooks.append(module.register_forward_pre_hook(self._enter(name)))
            self._hooks.append(module.register_forward_hook(self._leave))

    def remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any) -> None:
            self._inside.append(name)
            self.seen.setdefault(name, _Seen()).taken.extend(each for each in args if isinstance(each, Tensor))

        return hook

    def _leave(self, _: nn.Module, args: Any, output: Any) -> None:
        self.seen[self._inside.pop()].given.append(output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._inside and func in KINDS:
            self.seen[self._inside[-1]].called.append((func, operands_of(args, kwargs or {}), output))
        return output


def layers_with_own_forward(model: nn.Module) -> dict[str, Weighted]:
    """Return the layers whose class computes in a way of its own."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Weighted)}
    return {name: module for name, module in layers.items() if type(module).forward is not plain_kind(module).forward}


def plain_kind(module: Weighted) -> type[Any]:
    """Return PyTorch's own class that a layer is of."""
    return next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules"))


@torch.no_grad()
def replace_computed(model: nn.Module, example_input: Any) -> int:
    """Replace layers that multiply what they take with other weights than they hold, in place; return how many.

    Args:
        model: in evaluation mode.
        example_input: what it takes.
    """
    watch = _Watch(model)
    try:
        with watch:
            model(tree_map(_other, example_input))
    finally:
        watch.remove_hooks()
    made = {
        model.get_submodule(name): plain
        for name, seen in watch.seen.items()
        if (plain := _made_plain(model, name, seen)) is not None
    }
    replace_modules(model, made)
    return len(made)


def replace_modules(model: nn.Module, made: Mapping[nn.Module, nn.Module]) -> None:
    """Put others in the place of modules inside of a network, wherever they stand."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if name and module in made:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, made[module])


def _other(value: Any) -> Any:
    """Return other values than those that the result is compared on: weights made from what comes in do not pass."""
    return value * 0.5 + 0.1 if isinstance(value, Tensor) and value.is_floating_point() else value


def _made_plain(model: nn.Module, name: str, seen: _Seen) -> nn.Module | None:
    """Return a plain layer for one that was called once and gave what its formula made of its input; None of others."""
    module: Any = model.get_submodule(name)
    if not (len(seen.taken) == len(seen.called) == len(seen.given) == 1):
        return None
    func, operands, output = seen.called[0]
    weight, bias = operands["weight"], operands.get("bias")
    if weight is module.weight or seen.given[0] is not output or KINDS[func] is not plain_kind(module):
        return None
    pads = _pads(seen.taken[0], operands["input"])
    if pads is None or (any(pads) and plain_kind(module) is not nn.Conv2d):
        return None
    made: Any
    where = {"device": weight.device, "dtype": weight.dtype}
    if isinstance(module, nn.Linear):
        made = skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, **where)  # type: ignore[no-untyped-call]
    else:
        groups = operands.get("groups", 1)
        options = {key: operands[key] for key in _OPTIONS if key in operands}
        kind = PaddedConv2d if any(pads) else plain_kind(module)
        sizes = (weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]))
        made = skip_init(kind, *sizes, groups=groups, bias=bias is not None, **options, **where)  # type: ignore[no-untyped-call]
        if any(pads):
            made.pads = pads
    made.weight.copy_(weight)
    if bias is not None:
        made.bias.copy_(bias)
    made.register_buffer(MARK, weight.new_empty(0))
    return made.train(module.training)  # type: ignore[no-any-return]


def _pads(taken: Tensor, used: Tensor) -> tuple[int, ...] | None:
    """Return the zeros (left, right, above, below) between what a layer takes and what it uses; None if that differs.

    TensorFlow's padding puts the odd row and column behind.
    """
    if taken.shape == used.shape:
        return (0, 0, 0, 0) if torch.equal(taken, used) else None
    if taken.dim() != 4 or used.dim() != 4:
        return None
    more = [large - small for large, small in zip(used.shape[:1:-1], taken.shape[:1:-1], strict=True)]
    pads = tuple(zeros for total in more for zeros in (total // 2, total - total // 2))
    if min(pads) < 0 or not torch.equal(functional.pad(taken, pads), used):
        return None
    return pads
