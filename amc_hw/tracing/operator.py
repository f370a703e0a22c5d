"""One operator that has run, as rules see it: labels of what it took, and where to note what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amc_hw.tracing.labels import NEUTRAL, Labels, fixed, varies

MIXING = {
    *("native_layer_norm", "native_group_norm", "_fused_rms_norm"),
    *("mean", "var", "std", "var_mean", "std_mean", "linalg_vector_norm"),
    *("bmm", "baddbmm"),
}
"""Operators whose every result may come of many channels: it is defined as that of the channels which are left.

Networks that are held against each other (a network, and itself with channels masked) number them alike.
"""


Rows: TypeAlias = Mapping[str, NDArray[np.bool_]]
"""Names of layers and of bare parameters, each with which of its outputs, or of its elements, are meant."""


@dataclass
class Mixed:
    """A call of such an operator in the module ``path``, and the labels (positions,) that its results come of."""

    path: str
    labels: Tensor


@dataclass
class Multiplied:
    """A product of activations in the module ``path``: labels along (batch, rows, inner, columns)."""

    path: str
    labels: tuple[Tensor, ...]


@dataclass
class Split:
    """A reshape that split channels, as attention does to its heads: the kind of module, and the channels' labels."""

    kind: str
    labels: Tensor


@dataclass(frozen=True)
class Heads:
    """How channels that a module splits into heads are removed.

    Attributes:
        place: which of the dimensions of a split keeps its channels, counted from the end: -1 the width of the heads,
            equal for all, -2 whole heads.
        tied: whether the module's input loses channels together with its heads, for modules that take the number of
            their heads' channels from their input.
        scaled: whether queries take the root of the share that stays, for modules that divide by the root of the width.
        ignored: numbers of the modules that do not follow, although they are as many as some channels.
    """

    place: int = -1
    tied: bool = False
    scaled: bool = False
    ignored: frozenset[str] = frozenset()


@dataclass
class Noted:
    """What operators tell beside labels.

    Attributes:
        sizes: labels along what an attribute of a module counts: (dotted name, index where it lists several sizes).
        mixed: by number.
        products: in the order of their calls.
        splits: in the order of their calls.
        queries: labels along the width of queries that are to be scaled, each with the weights that they come of.
    """

    sizes: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    mixed: dict[int, Mixed] = field(default_factory=dict)
    products: list[Multiplied] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    queries: list[tuple[Tensor, Rows]] = field(default_factory=list)


@dataclass
class Place:
    """Where an operator ran.

    Attributes:
        path: name of the module in whose forward it ran.
        module: that module.
        where: the same for people.
        inputs: what the module was called with.
        number: of the operator, of those in `MIXING`.
    """

    path: str
    module: nn.Module | None
    where: str
    inputs: list[Tensor]
    number: int


@dataclass
class Operator:
    """One ATen operator.

    Attributes:
        name: without its overload.
        args, kwargs: what it was called with.
        results: its tensors.
        labels: of any tensor.
        book, noted: where to note.
        place: where it ran.
        heads: by kind of module, how its heads are removed.
    """

    name: str
    args: Any
    kwargs: Any
    results: list[Tensor]
    labels: Callable[[Tensor], Tensor]
    book: Labels
    noted: Noted
    place: Place
    heads: Mapping[str, Heads]

    @property
    def as_heads(self) -> Heads:
        """How the module's heads are removed."""
        return self.heads.get(kind_of(self.place.module), Heads())

    def mixes(self, labels: Tensor) -> None:
        """Note the labels (positions,) of all that a result comes of."""
        if varies(labels, 0):
            self.noted.mixed[self.place.number] = Mixed(self.place.path, labels.contiguous())

    def keep(self, labels: Tensor, does: str) -> None:
        """Keep channels because of what the operator does to them."""
        self.book.keep(labels, f"{self.place.where} {does}")

    def neutral(self) -> list[Tensor]:
        """Return labels of results that come of many channels together."""
        return [fixed(result.shape, NEUTRAL) for result in self.results]

    def counted(self, labels: Tensor) -> None:
        """Let the module's numbers follow that are as many as some labels (positions,) of channels.

        What a module calls so (``num_heads``) is not known; the proof tells whether the number may follow.
        """
        for attribute, value in self._numbers():
            if type(value) is int and value == len(labels) and attribute not in self.as_heads.ignored:
                self._follow(attribute, 0, labels)

    def counted_in(self, shape: Sequence[int], dim: int, labels: Tensor) -> None:
        """Let the module's lists of sizes follow that are this shape, at a dimension of it."""
        for attribute, value in self._numbers():
            if isinstance(value, tuple | list) and len(value) and list(value) == list(shape):
                self._follow(attribute, dim, labels)

    def _numbers(self) -> list[tuple[str, Any]]:
        return (
            [] if self.place.module is None else [item for item in vars(self.place.module).items() if item[0][0] != "_"]
        )

    def _follow(self, attribute: str, index: int, labels: Tensor) -> None:
        name = f"{self.place.path}.{attribute}" if self.place.path else attribute
        known = self.noted.sizes.setdefault((name, index), labels.contiguous())
        self.book.join(known, labels)


def kind_of(module: nn.Module | None) -> str:
    """Return the name of a module's class."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def along_all_but(book: Labels, labels: Tensor, dim: int) -> Tensor:
    """Note that labels are the same channels along all dimensions but one; return those along it."""
    for other in range(labels.dim()):
        if other != dim:
            labels = book.along(labels, other)
    return labels[tuple(slice(None) if d == dim else 0 for d in range(labels.dim()))]


def spread(labels: Tensor, dim: int, shape: torch.Size) -> Tensor:
    """Return the labels of a tensor of a shape whose channels (positions,) lie along one dimension."""
    return labels.view(tuple(-1 if d == dim else 1 for d in range(len(shape)))).expand(shape)
