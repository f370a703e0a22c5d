"""What a file calls its inputs and outputs: after the keys of a dict, the arguments of the forward, or their places."""

from __future__ import annotations

import inspect
import re
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path

from amc_hw.tracing.inputs import is_several
from amc_hw.tracing.same import outputs

INPUT, OUTPUT = "input", "output"
"""Of a network that has one, or, with a number behind it, of a place in a tuple or a list."""
_PARTS = ("key", "idx", "name")
"""What the steps to a part of a value are called: of a dict, of a list, of an object."""


def names_of(model: nn.Module, example: Any) -> tuple[list[str], list[str]]:
    """Return the names of a network's inputs and outputs, in its order; no two are the same.

    Args:
        model: its inputs are one value (`amc_hw.tracing.inputs.spread`).
        example: of its inputs.
    """
    inputs = _names(_by_argument(model, example), INPUT)
    found = _unique([*inputs, *_names(outputs(model, example), OUTPUT)])
    return found[: len(inputs)], found[len(inputs) :]


def _by_argument(model: nn.Module, example: Any) -> Any:
    """Return inputs that are handed over by place by the names of the arguments, where these are known."""
    if not is_several(example) or isinstance(example, dict):
        return example
    known = [*inspect.signature(getattr(type(model), "_plain", type(model)).forward).parameters.values()][1:]
    if len(known) < len(example) or any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in known):
        return example
    return {argument.name: each for argument, each in zip(known, example, strict=False)}


def _names(value: Any, alone: str) -> list[str]:
    found = []
    for path, leaf in tree_flatten_with_path(value)[0]:
        if isinstance(leaf, Tensor):
            keys = [next(str(getattr(each, part)) for part in _PARTS if hasattr(each, part)) for each in path]
            is_by_place = not keys or keys[0].isdigit()
            found.append(re.sub(r"\W+", "_", "_".join([alone, *keys] if is_by_place else keys)) or alone)
    return [alone] if len(found) == 1 and found[0].startswith(f"{alone}_") else found


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found
