"""Where the constants of a file come from: tensors of the network, some of them folded into others by the converter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Place:
    """Where a constant of the file comes from.

    Attributes:
        name: of a tensor of the network.
        axes: the order that its axes have in the file.
        factor: a vector of the network that it is multiplied by: the gain of a normalisation before the layer, or the
            scale of what the layer gives; empty where there is none.
        along: the axis of the tensor that the factor, or the bias, lies along.
        bias: of the layer before it, a vector that is added: to a table of positions; empty where there is none.
        shift: a vector of the network that, through the layer's weight, adds to its bias; empty where there is none.
        added: a number of the network's forward that is added to a bias, such as the 3 of a hard sigmoid behind it.
    """

    name: str
    axes: tuple[int, ...]
    factor: str = ""
    along: int = 0
    shift: str = ""
    bias: str = ""
    added: float = 0.0

    @property
    def layer(self) -> str:
        """The module that has the tensor."""
        return self.name.rpartition(".")[0]

    def value(self, state: _State) -> NDArray[Any]:
        """Return what stands in the file of a network with these tensors."""
        tensor: NDArray[Any] = state[self.name]
        if self.shift:
            tensor = tensor + _through(state[f"{self.layer}.weight"], state[self.shift])
        if self.factor:
            tensor = tensor * _along(state[self.factor], self.along, tensor.ndim)
        if self.bias:
            tensor = tensor + _along(state[self.bias], self.along, tensor.ndim)
        if self.added:
            tensor = tensor + np.float32(self.added)
        return np.transpose(tensor, self.axes)


def find_place(value: NDArray[Any], state: _State, layer: str) -> Place | float | None:
    """Return where a constant comes from, or its one value; None where it is in the file only.

    Args:
        value: of the constant.
        state: the network's tensors by their names, with a bias of every layer.
        layer: that of the filter that stands before it, or empty; of equal tensors, its own is meant.
    """
    places = [
        Place(name, axes)
        for name, tensor in state.items()
        if tensor.size == value.size and tensor.dtype.kind == "f"
        for axes in _orders(tensor, value.shape)
        if np.allclose(tensor.transpose(axes).reshape(value.shape), value, rtol=1e-5, atol=1e-8)
    ]
    own = [place for place in places if place.layer == layer]
    if value.size == 1:
        return next(iter(own), None)
    if value.min() == value.max() and not own:
        return float(value.flat[0])
    return next(iter(own or places), None) or _folded(value, state, layer)


def _folded(value: NDArray[Any], state: _State, layer: str) -> Place | None:
    """Return what a constant is that the converter has made of several tensors of the network, or None."""
    several = itertools.chain(_filters(value, state), _tables(value, state))
    found = _biases(value, state, layer) if value.ndim == 1 else several
    return next((place for place in found if _near(place.value(state).reshape(value.shape), value)), None)


def _orders(tensor: NDArray[Any], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the orders of a tensor's axes that can be a shape, sizes of 1 left away."""
    wanted = [size for size in shape if size > 1]
    for axes in itertools.permutations(range(tensor.ndim)):
        if [tensor.shape[axis] for axis in axes if tensor.shape[axis] > 1] == wanted:
            yield axes


def _filters(value: NDArray[Any], state: _State) -> Iterator[Place]:
    """Yield what a filter may be: a weight, every row or column of it times another number."""
    for name, axes, along, factor in _with_vectors(value, state, np.multiply):
        if along < 2:
            yield Place(name, axes, factor, along)


def _tables(value: NDArray[Any], state: _State) -> Iterator[Place]:
    """Yield what a table that is added may be: one of the network, with the bias of the layer before it."""
    for name, axes, along, bias in _with_vectors(value, state, np.add):
        yield Place(name, axes, along=along, bias=bias)


def _with_vectors(
    value: NDArray[Any], state: _State, combine: np.ufunc
) -> Iterator[tuple[str, tuple[int, ...], int, str]]:
    """Yield tensors, orders of their axes, one of these, and vectors along it that give a value's first row with it."""
    for name, tensor in state.items():
        if tensor.ndim < 2 or tensor.size != value.size:
            continue
        for axes in _orders(tensor, value.shape):
            ordered = value.reshape([tensor.shape[axis] for axis in axes]).transpose(np.argsort(axes))
            for along in range(tensor.ndim):
                row = tuple(slice(None) if axis == along else 0 for axis in range(tensor.ndim))
                for vector in _vectors(state, tensor.shape[along]):
                    if _near(combine(tensor[row], state[vector]), ordered[row]):
                        yield name, axes, along, vector


def _biases(value: NDArray[Any], state: _State, layer: str) -> Iterator[Place]:
    """Yield what a bias may be: the layer's, scaled, or with a number or what its weight makes of a shift before it."""
    name, weight = f"{layer}.bias", state.get(f"{layer}.weight")
    if weight is None or state.get(name, value[:0]).shape != value.shape:
        return
    yield from (Place(name, (0,), factor) for factor in _vectors(state, len(value)))
    if weight[0].size == weight.shape[1]:
        yield from (Place(name, (0,), shift=shift) for shift in _vectors(state, weight.shape[1]))
    yield Place(name, (0,), added=float(np.median(value - state[name])))


def _vectors(state: _State, size: int) -> list[str]:
    return [name for name, tensor in state.items() if tensor.shape == (size,) and tensor.dtype.kind == "f"]


def _through(weight: NDArray[Any], shift: NDArray[Any]) -> NDArray[Any]:
    added: NDArray[Any] = weight.reshape(len(weight), -1) @ shift
    return added


def _along(vector: NDArray[Any], axis: int, dimensions: int) -> NDArray[Any]:
    return vector.reshape([-1 if each == axis else 1 for each in range(dimensions)])


def _near(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-6 * float(np.abs(other).max(initial=0))))
