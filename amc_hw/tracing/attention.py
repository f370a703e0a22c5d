"""Attention as the operators that it is made of, and their rules: products of activations, heads, looked-up rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from amc_hw.tracing.labels import NEUTRAL, compact, fixed, varies
from amc_hw.tracing.norms import Rule
from amc_hw.tracing.operator import Multiplied, Operator, Split, along_all_but, kind_of


@contextmanager
def attention_by_parts() -> Iterator[None]:
    """Keep PyTorch from computing a whole attention, or encoder layer, as one operator in which nothing is seen."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def product(op: Operator) -> list[Tensor]:
    """A batch of matrix products (batch, rows, inner) x (batch, inner, columns).

    Channels along the inner dimension meet one to one and leave no trace in the result; those along the batch (heads)
    meet one to one and go on; those along rows or columns go on, if they are in one of the two only.
    """
    one, other = (op.labels(tensor) for tensor in op.args[-2:])
    shape = (*one.shape, other.size(2))
    along = [fixed((size,), NEUTRAL) for size in shape]
    inner = varies(one, 2) or varies(other, 1)
    if inner:
        one, other = op.book.along(one, 0), op.book.along(other, 0)
    elif varies(one, 0) or varies(other, 0):
        heads = [labels[:, 0, 0] for labels in (one, other) if varies(labels, 0)]
        for more in heads[1:]:
            op.book.join(heads[0], more)
        along[0] = heads[0]
    if inner:
        op.book.join(one[0, 0], other[0, :, 0])
        along[2] = one[0, 0]
        op.mixes(along[2])
    if varies(one, 1):
        along[1] = one[0, :, 0]
    if varies(other, 2):
        along[3] = other[0, 0]
    if sum(varies(labels, 0) for labels in along) > 1:
        for labels in (one, other):
            op.keep(labels, "multiplies matrices whose channels lie along several dimensions")
    for labels in (one, other):
        if not any(varies(labels, dim) for dim in range(3)) and labels.numel() and int(labels[0, 0, 0]) > NEUTRAL:
            op.book.keep(labels, "one of its values serves many channels")
    op.noted.products.append(Multiplied(op.place.path, tuple(along)))
    batch, rows, columns = along[0].view(-1, 1, 1), along[1].view(1, -1, 1), along[3].view(1, 1, -1)
    found = next((labels for labels in (batch, rows, columns) if any(varies(labels, d) for d in range(3))), batch)
    result = found.expand(op.results[0].shape)
    if op.name == "baddbmm":
        result = op.book.pointwise([result, op.labels(op.args[0])], result.shape)
    return [result]


def looked_up(op: Operator) -> list[Tensor] | None:
    """Rows taken by indices that are computed: nothing can be removed along the dimensions that are looked into."""
    if op.name == "embedding":
        labels = op.labels(op.args[0])
        shape = (*(1 for _ in range(op.args[1].dim())), labels.size(1))
        return [op.book.along(labels, 0)[0].view(shape).expand(op.results[0].shape)]
    labels, indices = op.labels(op.args[0]), op.args[1]
    if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices):
        return None
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    for dim in dims:
        labels = op.book.along(labels, dim)
    return [compact(torch.ops.aten.index.Tensor(labels, indices))]


def reshape(op: Operator) -> list[Tensor]:
    """Views and reshapes: channels may be split, and merged again."""
    labels, shape = op.labels(op.args[0]), op.results[0].shape
    result, changed = op.book.reshape(labels, shape, op.place.where, op.as_heads.place)
    if changed.split:
        op.noted.splits.append(Split(kind_of(op.place.module), result))
    for dim in changed.split + changed.merged:
        if varies(result, dim):
            op.counted(_along(result, dim))
    if op.as_heads.tied:
        for dim in changed.merged:
            _tie(op, result, dim)
    return [result]


def _tie(op: Operator, labels: Tensor, dim: int) -> None:
    """Join merged heads with the channels of what the module takes, if they are as many."""
    for taken in (op.labels(tensor) for tensor in op.place.inputs):
        for other in range(taken.dim()):
            if taken.size(other) == labels.size(dim) and varies(taken, other) and varies(labels, dim):
                op.book.join(_along(labels, dim), along_all_but(op.book, taken, other))
                return


def _along(labels: Tensor, dim: int) -> Tensor:
    return labels[tuple(slice(None) if d == dim else 0 for d in range(labels.dim()))]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), reshape),
    "bmm": product,
    "baddbmm": product,
    "embedding": looked_up,
    "index": looked_up,
}
