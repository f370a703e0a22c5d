"""Which images a search scores its policies on: mostly those that some policies get right and others wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

SHARE = 0.2
"""Of the images that are looked at."""
LEAST_CHANCE = 1 / 12
"""Of an image to be looked at, however sure it is."""
LEAST = 3700
"""Images of which all are looked at where there are no more: a sample would be too small."""
LEAST_SPREAD = 0.05
"""Of the margins of policies, as a share of the spread among the images: guides may be nearly the same network."""
LOGISTIC = 1.702
"""Makes the logistic function of a number nearly the normal distribution's (Bowling et al. 2009)."""


@dataclass(frozen=True)
class Sample:
    """Images that stand for all of a part.

    Attributes:
        positions: in the part, in the order in which they are looked at, which is random: int64 (n,).
        weights: how many images of the part each stands for, float64 (n,).
        offset: what is added to a weighted accuracy, because these images are luckier than all are, or less so.
    """

    positions: Tensor
    weights: Tensor
    offset: float = 0.0

    def __len__(self) -> int:
        return len(self.positions)

    def accuracy(self, right: Tensor) -> float:
        """Return a network's accuracy on all images, 0..1, by which of these it gets right, bool (n,)."""
        return min(max(self.mean(right) + self.offset, 0.0), 1.0)

    def mean(self, values: Tensor) -> float:
        """Return the weighted mean of values of these images (n,)."""
        return float((values * self.weights).sum() / self.weights.sum())


def everything(images: int) -> Sample:
    """Return all images, in an order drawn once."""
    return Sample(_drawn(images), torch.ones(images, dtype=torch.float64))


def sample_size(images: int) -> int:
    """Return how many of so many images are looked at."""
    return images if images <= LEAST else round(SHARE * images)


def draw_sample(margins: Tensor, seed: int = 0) -> Sample:
    """Draw images, the likelier the more policies differ in them; the accuracy is on average that of all images.

    How likely a policy gets an image right is told by how near two guiding networks are to the limit between right and
    wrong, and by how far they are apart. An image is drawn with a chance in proportion to the standard deviation of
    that, and stands for as many more (sampling with unequal probabilities, Horvitz and Thompson 1952): what all get
    wrong tells policies apart as little as what all get right. How much luckier the drawn images are by what was
    expected of them is the offset (the difference estimator, Saerndal et al. 1992, section 6.3).

    Args:
        margins: by how much a guiding network's score of an image's class is above its best other one, (2, images).
        seed: of the drawing.
    """
    images = margins.shape[1]
    if images <= LEAST:
        return everything(images)
    likely = _likely_right(margins)
    chances = _chances((likely * (1 - likely)).sqrt(), sample_size(images))
    order = _drawn(images, seed)
    passed = torch.cat([torch.zeros(1), chances[order].cumsum(0)]) + 0.5
    chosen = order[passed.floor().diff() > 0]  # systematically: as many as they should be
    sample = Sample(chosen, 1 / chances[chosen])
    return replace(sample, offset=float(likely.mean()) - sample.mean(likely[chosen]))


def _likely_right(margins: Tensor) -> Tensor:
    """Return how likely a network like two guides gets images right, float64 (images,), 0..1 without the ends."""
    alike = (margins.double() / margins.double().std(dim=1, keepdim=True)).nan_to_num()
    spread = max(LEAST_SPREAD, float((alike[0] - alike[1]).std()) / 2**0.5)
    return torch.sigmoid((LOGISTIC * alike.mean(0) / spread).clamp(-30, 30))


def _chances(spreads: Tensor, count: int) -> Tensor:
    """Return chances in proportion to what values may differ by, that many together; see `LEAST_CHANCE`."""
    low, high = 0.0, 1 / float(spreads.min())
    for _ in range(100):
        factor = (low + high) / 2
        chances = (factor * spreads).clamp(LEAST_CHANCE, 1)
        low, high = (factor, high) if float(chances.sum()) < count else (low, factor)
    return chances


def _drawn(count: int, seed: int = 0) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
