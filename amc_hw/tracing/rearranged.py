"""What moves values between channels and the map by a rule of its own: pixel and channel shuffles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from amc_hw.tracing.labels import Labels, compact, first


def pixel_shuffle(book: Labels, labels: Tensor, factor: int) -> Tensor:
    """Return the channels of (N, C, rH, rW) from (N, C r r, H, W): those that share a pixel hang together."""
    channels = labels.size(1) // factor**2
    blocks = _channels(book, labels).view(channels, factor**2)
    return book.along(blocks, 1)[:, 0]


def pixel_unshuffle(book: Labels, labels: Tensor, factor: int) -> Tensor:
    """Return the channels of (N, C r r, H, W) from (N, C, rH, rW): a channel becomes several that hang together."""
    return _channels(book, labels).repeat_interleave(factor**2)


def channel_shuffle(book: Labels, labels: Tensor, groups: int) -> Tensor:
    """Return the channels whose groups are dealt out; every group keeps as many."""
    parts = book.along(_channels(book, labels).view(groups, -1), 0)
    return parts.t().flatten()


RULES: dict[str, Callable[[Labels, Tensor, int], Tensor]] = {
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
    "native_channel_shuffle": channel_shuffle,
}


def rearranged(book: Labels, name: str, args: Any, labels: Tensor, result: Tensor) -> Tensor | None:
    """Return the labels of an operator's result; None of operators without a rule here."""
    if name not in RULES or labels.dim() != 4:
        return None
    return compact(RULES[name](book, labels, int(args[1])).view(1, -1, 1, 1).expand(result.shape))


def _channels(book: Labels, labels: Tensor) -> Tensor:
    """Return the label of every channel of (N, C, H, W), the same all over the map."""
    for dim in (2, 3):
        labels = book.along(labels, dim)
    return first(labels, (0, 2, 3)).flatten()
