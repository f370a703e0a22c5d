"""Least squares from second moments: a layer's best weights for the inputs that remain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

RIDGE = 1e-4  # of the mean diagonal of the Gram matrix
BLOCK = 4
"""Groups of a convolution that are worked on at a time: their rows stay in the processor's cache."""
WIDE = 192
"""Inputs from which on half of their products are computed, and mirrored."""


@dataclass
class Moments:
    """Mean products of inputs with inputs and with targets, for every group of a convolution.

    Attributes:
        gram: (groups, inputs, inputs).
        cross: (groups, inputs, targets of a group).
        mean_y: (groups, targets of a group), subtracted before the products; zero where the layer can hold no bias.
        mean_x: (groups, inputs), likewise.
        rows: number of rows behind the means.
        with_bias: whether the layer can hold a bias.
    """

    gram: Tensor
    cross: Tensor
    mean_y: Tensor
    mean_x: Tensor
    rows: int
    with_bias: bool


def moments(x: Tensor, y: Tensor, with_bias: bool) -> Moments:
    """Return the moments of rows.

    Args:
        x: inputs (rows, groups, inputs).
        y: targets (rows, groups x targets).
        with_bias: whether the layer can hold a bias.
    """
    grams, crosses, means_y, means_x = [], [], [], []
    for part_x, part_y in _blocks(x, y):
        mean = part_x.mean(1, keepdim=True) * with_bias
        centred = part_x - mean
        cross, mean_y = _towards(centred, part_y, with_bias)
        grams.append((inner_products(centred) / len(x)).double())
        crosses.append(cross)
        means_y.append(mean_y)
        means_x.append(mean[:, 0].double())
    gram, cross, mean_y, mean_x = map(torch.cat, (grams, crosses, means_y, means_x))
    return Moments(gram, cross, mean_y, mean_x, len(x), with_bias)


def aimed(found: Moments, x: Tensor, y: Tensor) -> Moments:
    """Return the moments of the same inputs (rows, groups, inputs) with other targets (rows, groups x targets)."""
    towards = [_towards(part_x, part_y, found.with_bias) for part_x, part_y in _blocks(x, y)]
    cross, mean_y = map(torch.cat, zip(*towards, strict=True))
    return replace(found, cross=cross, mean_y=mean_y)


def given(x: Tensor, weights: Tensor) -> Tensor:
    """Return what weights (groups, targets, inputs) make of inputs (rows, groups, inputs): (rows, groups x targets)."""
    parts = torch.split(x, BLOCK, 1), torch.split(weights, BLOCK)
    return torch.cat([torch.einsum("rgi,gti->rgt", *each) for each in zip(*parts, strict=True)], dim=1).flatten(1)


def inner_products(x: Tensor) -> Tensor:
    """Return the products (groups, inputs, inputs) of the inputs of rows (groups, rows, inputs) with each other.

    Half of a symmetric matrix is computed, and mirrored, as far as its blocks are large enough to be worth it.
    """
    if x.shape[2] < WIDE:
        return x.transpose(1, 2) @ x
    left, right = x.tensor_split(2, dim=2)
    across = left.transpose(1, 2) @ right
    upper = torch.cat([inner_products(left), across], dim=2)
    return torch.cat([upper, torch.cat([across.transpose(1, 2), inner_products(right)], dim=2)], dim=1)


def _blocks(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the inputs (groups, rows, inputs) and the targets (groups, rows, targets) of a few groups at a time."""
    y = y.view(*x.shape[:2], -1)
    for part_x, part_y in zip(torch.split(x, BLOCK, 1), torch.split(y, BLOCK, 1), strict=True):
        yield part_x.contiguous().transpose(0, 1), part_y.contiguous().transpose(0, 1)


def _towards(x: Tensor, y: Tensor, with_bias: bool) -> tuple[Tensor, Tensor]:
    """Return the mean products of inputs (groups, rows, inputs) with centred targets, and the targets' means."""
    mean = y.mean(1, keepdim=True) * with_bias
    return (x.transpose(1, 2) @ (y - mean) / x.shape[1]).double(), mean[:, 0].double()


def factor(gram: Tensor) -> Tensor:
    """Return the Cholesky factor of (groups, inputs, inputs), with a ridge as small as lets it exist."""
    size = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1) + 1e-12
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    while True:
        lower: Tensor
        lower, failed = torch.linalg.cholesky_ex(gram + size[:, None, None] * identity)
        if not failed.any():
            return lower
        size = torch.where(failed > 0, 10 * size, size)


def solve(gram: Tensor, cross: Tensor) -> Tensor:
    """Return the weights (groups, targets, inputs) that gram @ weights^T = cross asks for."""
    return torch.cholesky_solve(cross, factor(gram)).transpose(1, 2)


@dataclass
class Reading:
    """How one layer reads the channels of a group.

    Attributes:
        inverse: (channels x k, channels x k), the part of the inverse Gram matrix of its inputs that is the channels'.
        weights: (outputs, channels x k), every output scaled by how much its error counts.
    """

    inverse: Tensor
    weights: Tensor


def elimination_order(channels: int, readings: Sequence[Reading]) -> Tensor:
    """Remove channels one by one, each time the one whose loss raises the least-squares error least.

    The error that the removal of a block b of inputs adds is tr(W_b [H_bb]^-1 W_b^T), with H the inverse of the Gram
    matrix and W the weights fitted so far (Hassibi and Stork 1993, for blocks and with all outputs at once); H and W
    of what remains follow by block elimination. For time's sake a step removes a 64th of the channels where that is
    more than one, and a 16th while more than 1536 inputs are left.

    Returns:
        Channel indices, the one to be removed last first.
    """
    alive = torch.arange(channels)
    removed: list[int] = []
    while len(alive) > 1:
        added = torch.stack([_added_errors(reading, len(alive)) for reading in readings]).sum(0)
        order = added.cpu().argsort(stable=True)
        count = max(1, len(alive) // (16 if max(len(reading.inverse) for reading in readings) > 1536 else 64))
        gone, stay = order[:count], order[count:].sort().values
        readings = [_without(reading, gone, stay, len(alive)) for reading in readings]
        removed += alive[gone].tolist()
        alive = alive[stay]
    return torch.tensor(alive.tolist() + removed[::-1])


def _added_errors(reading: Reading, channels: int) -> Tensor:
    k = len(reading.inverse) // channels
    index = torch.arange(channels)
    blocks = reading.inverse.view(channels, k, channels, k)[index, :, index]
    parts = reading.weights.view(-1, channels, k).permute(1, 2, 0)
    lower = torch.linalg.cholesky(blocks)
    solved: Tensor = torch.linalg.solve_triangular(lower, parts, upper=False)
    return solved.square().sum((1, 2))


def _without(reading: Reading, gone: Tensor, stay: Tensor, channels: int) -> Reading:
    within = torch.arange(len(reading.inverse) // channels)
    out, rest = ((chosen[:, None] * len(within) + within).flatten() for chosen in (gone, stay))
    inverse, weights = reading.inverse[rest], reading.weights
    through = torch.linalg.solve(reading.inverse[out][:, out], inverse[:, out].T)
    return Reading(
        torch.addmm(inverse[:, rest], inverse[:, out], through, alpha=-1),
        torch.addmm(weights[:, rest], weights[:, out], through, alpha=-1),
    )
