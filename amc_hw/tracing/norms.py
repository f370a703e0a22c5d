"""Rules for normalisation and reductions: what is taken over channels is taken over those that are left."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from amc_hw.tracing.labels import first, fixed, varies
from amc_hw.tracing.operator import MIXING, Operator, along_all_but, spread

Rule = Callable[[Operator], list[Tensor] | None]
"""Returns labels of an operator's results, or None where it is called in a way that the rule does not know."""


def layer_norm(op: Operator) -> list[Tensor]:
    """Normalisation over the last dimensions, by their mean and variance or by their mean square (RMSNorm)."""
    x, shape = op.labels(op.args[0]), list(op.args[1])
    lead = x.dim() - len(shape)
    if not any(varies(x, dim) for dim in range(lead, x.dim())):  # each channel (a head) by itself
        for parameter in op.args[2:4]:
            if isinstance(parameter, Tensor):
                op.book.keep(op.labels(parameter), "one of its values serves many channels")
        return [x, *(fixed(result.shape) for result in op.results[1:])]
    for dim in range(lead):
        x = op.book.along(x, dim)
    core = first(x, range(lead)).reshape(tuple(shape))
    for parameter in op.args[2:4]:
        if isinstance(parameter, Tensor):
            op.book.join(core, op.labels(parameter).reshape(tuple(shape)))
    dims = [dim for dim in range(len(shape)) if varies(core, dim)]
    if len(dims) == 1:
        along = core[tuple(slice(None) if d == dims[0] else 0 for d in range(len(shape)))]
        op.counted(along)
        op.counted_in(shape, dims[0], along)
    op.mixes(core.flatten())
    return [core.expand(x.shape), *(fixed(result.shape) for result in op.results[1:])]


def group_norm(op: Operator) -> list[Tensor]:
    """Normalisation over equal groups of channels: of each, equally many channels stay."""
    channels, groups = int(op.args[4]), int(op.args[6])
    entering = along_all_but(op.book, op.labels(op.args[0]), 1)
    if 1 < groups < channels:
        op.book.along(entering.view(groups, -1), 0)
    for parameter in op.args[1:3]:
        if isinstance(parameter, Tensor):
            op.book.join(entering, op.labels(parameter))
    if varies(entering, 0):
        op.counted(entering)
        if groups < channels:
            op.mixes(entering)
    return [spread(entering, 1, op.results[0].shape), *(fixed(result.shape) for result in op.results[1:])]


def batch_norm(op: Operator) -> list[Tensor]:
    """Normalisation of each channel by itself, as instance norms do it with images beside channels."""
    entering = along_all_but(op.book, op.labels(op.args[0]), 1)
    for parameter in op.args[1:5]:
        if isinstance(parameter, Tensor):
            op.book.join(entering, op.labels(parameter))
    own = getattr(op.place.module, "num_features", None)
    if type(own) is int and varies(entering[:own], 0):
        op.counted(entering[:own])
    return [spread(entering, 1, op.results[0].shape), *(fixed(result.shape) for result in op.results[1:])]


def reduction(op: Operator) -> list[Tensor] | None:
    """Reductions over dimensions; over channels, means and norms are of those that are left."""
    place = 2 if op.name == "linalg_vector_norm" else 1
    dims = op.args[place] if len(op.args) > place else None
    if type(dims) is int:
        dims = [dims]
    if not isinstance(dims, list) or not dims:
        return None
    labels = op.labels(op.args[0])
    over = sorted(dim % labels.dim() for dim in dims)
    labels, channels = _of_branches(op, labels, over)
    if not channels:
        return [first(labels, over).reshape(result.shape) for result in op.results]
    if len(channels) > 1 or op.name not in MIXING:
        op.keep(labels, "reduces over its channels")
        return [first(labels, over).reshape(result.shape) for result in op.results]
    along = along_all_but(op.book, labels, channels[0])
    op.counted_in([labels.size(dim) for dim in over], over.index(channels[0]), along)  # RMSNorm's shape
    of_channels = spread(along, channels[0], labels.shape)
    op.mixes(first(of_channels, [dim for dim in range(labels.dim()) if dim not in over]).flatten())
    return op.neutral()


def _of_branches(op: Operator, labels: Tensor, over: list[int]) -> tuple[Tensor, list[int]]:
    """Return labels, and which of some dimensions their channels lie along.

    Where other dimensions have the channels, these are branches beside each other, whose channels meet one to one.
    """
    channels = [dim for dim in over if varies(labels, dim)]
    if channels and any(varies(labels, dim) for dim in range(labels.dim()) if dim not in over):
        for dim in channels:
            labels = op.book.along(labels, dim)
        return labels, []
    return labels, channels


def softmax(op: Operator) -> list[Tensor]:
    """What goes along one dimension, each value by all others: not over channels, whose number tells in the result."""
    labels = op.labels(op.args[0])
    if not labels.dim():
        return [labels]
    labels, channels = _of_branches(op, labels, [int(op.args[1]) % labels.dim()])
    if channels:
        op.keep(labels, f"has a {op.name.strip('_')} over its channels")
    return [labels.expand(result.shape) for result in op.results]


RULES: dict[str, Rule] = {
    "native_layer_norm": layer_norm,
    "_fused_rms_norm": layer_norm,
    "native_group_norm": group_norm,
    "native_batch_norm": batch_norm,
    **dict.fromkeys(("mean", "sum", "logsumexp", "amax", "amin", "max", "min", "argmax", "argmin"), reduction),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean", "linalg_vector_norm"), reduction),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax", "cumsum"), softmax),
}
