"""Finds a model's weights in what training scripts save: under any key, and behind any wrapper's prefix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

# Wrappers that leave their mark in the middle of names, too: compiled, FSDP, activation checkpointing.
_WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_COUNTERS = {"total_ops", "total_params", "n_averaged"}  # profilers' and averagers'
_AVERAGED = re.compile(r"(?<![a-z])ema(?![a-z])")
_MOST_DEEP = 4


@dataclass(frozen=True)
class Weights:
    """Tensors by name, as one of a checkpoint's mappings has them behind one prefix.

    Attributes:
        place: where they are in the file: keys and prefix, with dots between them; empty for the file itself.
        tensors: by their names without the prefix.
        left_out: the names in the same mapping that do not have the prefix.
    """

    place: str
    tensors: Mapping[str, Tensor]
    left_out: tuple[str, ...] = ()

    @property
    def averaged(self) -> bool:
        """Whether its place says that these are moving averages of the weights in training."""
        return bool(_AVERAGED.search(self.place))

    def missing(self, expected: Mapping[str, Tensor]) -> list[str]:
        """Return the model's names that are not here; batch norms' step counters, which old files lack, may be."""
        return [key for key in expected if key not in self.tensors and not key.endswith("num_batches_tracked")]

    def unexpected(self, expected: Mapping[str, Tensor]) -> list[str]:
        """Return the names that are here and not in the model."""
        return [key for key in self.tensors if key not in expected]

    def reshaped(self, expected: Mapping[str, Tensor]) -> list[str]:
        """Return what has another shape than in the model, or whole numbers for fractions, with both."""
        return [
            f"{key} {_described(tensor, expected[key])}, needed {_described(expected[key], tensor)}"
            for key, tensor in self.tensors.items()
            if key in expected and not _alike(tensor, expected[key])
        ]

    def fits(self, expected: Mapping[str, Tensor]) -> bool:
        """Tell whether these are the model's weights."""
        return not (self.missing(expected) or self.unexpected(expected) or self.reshaped(expected))


def find_weights(content: Any, expected: Mapping[str, Tensor]) -> list[Weights]:
    """Return all weights in a checkpoint that fit the model; where none do, what comes nearest, if anything.

    Args:
        content: plain values: mappings within mappings, tensors, and whatever else was stored.
        expected: the model's state dict.
    """
    found = [weights for place, tensors in _mappings(content) for weights in _without_prefix(place, tensors, expected)]
    fitting = [weights for weights in found if weights.fits(expected)]
    if fitting or not found:
        return fitting
    return [max(found, key=lambda weights: (len(expected.keys() & weights.tensors.keys()), len(weights.tensors)))]


def _mappings(content: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield all mappings with tensors in them, outer ones first, and the keys that lead there."""
    level, seen = [("", content)], set()
    for _ in range(_MOST_DEEP):
        inner = []
        for place, mapping in level:
            if not isinstance(mapping, Mapping) or id(mapping) in seen:
                continue
            seen.add(id(mapping))
            if tensors := {str(key): value for key, value in mapping.items() if isinstance(value, Tensor)}:
                yield place, tensors
            inner += [(f"{place}.{key}" if place else str(key), value) for key, value in mapping.items()]
        level = inner


def _without_prefix(place: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[Weights]:
    """Yield the tensors under their own names, then behind every prefix after which a name of the model comes."""
    named = {key if key in expected else _WRAPPERS.sub("", key): tensor for key, tensor in tensors.items()}
    named = {key: tensor for key, tensor in named.items() if key in expected or key.rpartition(".")[2] not in _COUNTERS}
    yield Weights(place, named)
    starts = ((key, dot.end()) for key in named for dot in re.finditer(r"\.", key))
    prefixes = Counter(key[:start] for key, start in starts if key[start:] in expected)
    for prefix, _ in prefixes.most_common(_MOST_DEEP):
        behind = {key.removeprefix(prefix): tensor for key, tensor in named.items() if key.startswith(prefix)}
        left_out = tuple(key for key in named if not key.startswith(prefix))
        yield Weights(f"{place}.{prefix[:-1]}" if place else prefix[:-1], behind, left_out)


def _alike(tensor: Tensor, wanted: Tensor) -> bool:
    """Tell whether one can be copied to the other without a change of meaning."""
    plain = tensor.layout is torch.strided and not tensor.is_meta and not is_lazy(tensor)
    if not plain or (wanted.is_floating_point() and not tensor.is_floating_point()):
        return False
    return is_lazy(wanted) or tensor.shape == wanted.shape


def _described(tensor: Tensor, other: Tensor) -> str:
    """Return the shape, and the type of its numbers where the other's is of another kind."""
    if is_lazy(tensor):
        return "any shape"
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    kinds = [(each.is_floating_point(), each.layout, each.is_meta) for each in (tensor, other)]
    return shape if kinds[0] == kinds[1] else f"{shape} {str(tensor.dtype).removeprefix('torch.')}"
