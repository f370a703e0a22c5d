"""Which images a search scores its policies on: mostly those that a pruned network may get wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STRATA = ((0.15, 1), (0.2, 3), (0.65, 12))
"""From the hardest images to the easiest: their share, and one of how many of them is looked at: 27 % of all."""
LEAST = 3700
"""Images of which all are looked at where there are no more: a sample would have less than a thousand."""


@dataclass(frozen=True)
class Sample:
    """Images that stand for all of a part.

    Attributes:
        positions: in the part, in the order in which they are looked at, which is random: int64 (n,).
        weights: how many images of the part each stands for, float64 (n,).
    """

    positions: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.positions)


def everything(images: int) -> Sample:
    """Return all images, in an order drawn once."""
    return Sample(_drawn(images), torch.ones(images, dtype=torch.float64))


def sample_size(images: int) -> int:
    """Return how many of so many images are looked at."""
    return images if images <= LEAST else sum(-(-size // every) for size, every in _sizes(images))


def draw_sample(margins: Tensor) -> Sample:
    """Draw images, the more of them the harder they are; their weighted accuracy is on average that of all images.

    A stratified sample (Cochran 1977, chapter 5): where policies differ more, it is denser.

    Args:
        margins: by how much a guiding network's score of an image's class is above its best other one, (networks,
            images); an image's hardness is its rank among all, added up over the networks.
    """
    images = margins.shape[1]
    if images <= LEAST:
        return everything(images)
    hardest_first = margins.argsort(dim=1, stable=True).argsort(dim=1).sum(0).argsort(stable=True)
    positions, weights, start = [], [], 0
    for number, (size, every) in enumerate(_sizes(images)):
        chosen = hardest_first[start : start + size][_drawn(size, seed=number)][: -(-size // every)]
        positions.append(chosen)
        weights.append(torch.full((len(chosen),), size / len(chosen), dtype=torch.float64))
        start += size
    order = _drawn(sample_size(images))
    return Sample(torch.cat(positions)[order], torch.cat(weights)[order])


def _sizes(images: int) -> list[tuple[int, int]]:
    """Return the strata of so many images: how many are in each, and one of how many is looked at."""
    ends = [round(images * sum(share for share, _ in STRATA[: number + 1])) for number in range(len(STRATA))]
    return [(end - start, every) for start, end, (_, every) in zip([0, *ends], ends, STRATA, strict=False)]


def _drawn(count: int, seed: int = 0) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
