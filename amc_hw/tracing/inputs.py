"""What networks take: one tensor, or several in a tuple, a list or a dict, each with the batch first."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from amc_hw.errors import UsageError

_Model = TypeVar("_Model", bound=nn.Module)


def tensors_of(inputs: Any) -> list[Tensor]:
    """Return the tensors of inputs, in order."""
    return [leaf for leaf in tree_flatten(inputs)[0] if isinstance(leaf, Tensor)]


def is_float(value: Any) -> bool:
    """Tell whether a value is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()


def is_several(inputs: Any) -> bool:
    """Tell whether inputs are more than one tensor."""
    return not isinstance(inputs, Tensor)


def size_of(inputs: Any) -> int:
    """Return how many inputs are in a batch."""
    return len(tensors_of(inputs)[0])


def numbers_in(inputs: Any) -> int:
    """Return how many numbers one input has."""
    return sum(math.prod(tensor.shape[1:]) for tensor in tensors_of(inputs))


def taken(inputs: Any, which: Any) -> Any:
    """Return some inputs of a batch: those of a slice, or at some positions."""
    return tree_map(lambda each: each[which] if isinstance(each, Tensor) else each, inputs)


def parts(inputs: Any, size: int) -> list[Any]:
    """Return a batch in batches of a size; the last one may be smaller."""
    return [taken(inputs, slice(start, start + size)) for start in range(0, size_of(inputs), size)]


def moved(inputs: Any, place: torch.device | str) -> Any:
    """Return inputs on a device."""
    return tree_map(lambda each: each.to(place) if isinstance(each, Tensor) else each, inputs)


def repeated(example: Any, size: int) -> Any:
    """Return one input in a batch of a size."""
    return tree_map(lambda each: each.expand(size, *each.shape[1:]) if isinstance(each, Tensor) else each, example)


def joined(batches: list[Any]) -> Any:
    """Return several batches as one."""
    return tree_map(lambda *each: torch.cat(each) if isinstance(each[0], Tensor) else each[0], *batches)


def noise_like(example: Any, size: int) -> Any:
    """Return normal random inputs in a batch of a size; what is not floating-point is repeated as it is."""
    generator = torch.Generator().manual_seed(0)

    def drawn(each: Any) -> Any:
        if not isinstance(each, Tensor) or not each.is_floating_point():
            return repeated(each, size)
        return torch.randn(size, *each.shape[1:], generator=generator, dtype=each.dtype)

    return tree_map(drawn, example)


def spread(model: _Model, example: Any) -> _Model:
    """Return a network that takes its inputs as one value: itself where that is one tensor.

    Else it is a shallow copy, with the same modules and weights by the same names: a tuple or a list is handed to the
    forward by place, a dict by keyword. `as_written` undoes it.
    """
    if not is_several(example) or getattr(type(model), "_plain", None) is not None:
        return model
    copied, kind = copy.copy(model), cast(Any, type(model))
    copied.__class__ = _spread_class(kind)
    return copied


@functools.cache
def _spread_class(kind: Any) -> Any:
    def forward(self: Any, inputs: Any) -> Any:
        return kind.forward(self, **inputs) if isinstance(inputs, dict) else kind.forward(self, *inputs)

    return type(kind.__name__, (kind,), {"forward": forward, "_plain": kind, "__module__": kind.__module__})


def described(example: Any) -> Any:
    """Return an example's structure, shapes and types as JSON has them."""
    if isinstance(example, Tensor):
        return {"shape": list(example.shape), "dtype": str(example.dtype).removeprefix("torch.")}
    if isinstance(example, dict):
        return {"dict": {str(name): described(each) for name, each in example.items()}}
    return {"tuple": [described(each) for each in example]}


def example_of(description: Any) -> Any:
    """Return an example, all zeros, of what `described` gave; raise ValueError where it is something else."""
    try:
        if "dict" in description:
            return {name: example_of(each) for name, each in description["dict"].items()}
        if "tuple" in description:
            return tuple(map(example_of, description["tuple"]))
        return torch.zeros(description["shape"], dtype=getattr(torch, description["dtype"]))
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError("it describes no inputs") from error


def called(model: nn.Module, inputs: Any) -> Any:
    """Call a network, as its author has it, with inputs."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def in_order(args: tuple[Any, ...], kwargs: Mapping[str, Any], example: Any) -> list[Tensor]:
    """Return the tensors that a network is called with in the order of an example's: by place, then by keyword.

    Raises:
        UsageError: they are more or fewer.
    """
    names = list(example) if isinstance(example, dict) else []
    given, wanted = tensors_of((*args, *(kwargs[name] for name in names if name in kwargs))), tensors_of(example)
    if len(given) != len(wanted):
        by = "keyword" if isinstance(example, dict) else "place"
        raise UsageError(
            f"the network is called with {len(given)} tensors by {by} and takes {len(wanted)}; call it as its inputs "
            "are given: a tuple's by place, a dict's by keyword."
        )
    return given


@contextmanager
def written_form(model: nn.Module) -> Iterator[nn.Module]:
    """Let a network take its inputs as its author has it, and undo that afterwards."""
    kind = type(model)
    model.__class__ = getattr(kind, "_plain", None) or kind
    try:
        yield model
    finally:
        model.__class__ = kind


def as_written(model: nn.Module) -> nn.Module:
    """Return a network for good as its author has it."""
    model.__class__ = getattr(type(model), "_plain", None) or type(model)
    return model
