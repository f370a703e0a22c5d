"""Small real images at the size of a phone's network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from amc_hw.data.dataset import Data, load_data
from amc_hw.data.sources import Images

SCORED = 640
"""Digits of the validation split: a tenth of the training images, as elsewhere, would be few."""


@dataclass(frozen=True)
class Enlarged:
    """Images of another source at ``size`` x ``size`` pixels, enlarged when they are asked for."""

    images: Images
    size: int

    def read(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Interpolate linearly."""
        for pixels in self.images.read(batches):
            large = F.interpolate(pixels.permute(0, 3, 1, 2).float(), size=self.size, mode="bilinear")
            yield large.round().byte().permute(0, 2, 3, 1).contiguous()


def enlarged(data: Data, size: int) -> Data:
    """Return the data with images of ``size`` x ``size`` pixels."""
    train, search, test = (
        replace(part, images=Enlarged(part.images, size)) for part in (data.train, data.search, data.test)
    )
    channels, _, _ = data.image_size
    name = f"{data.name} at {size}"
    return replace(data, name=name, image_size=(channels, size, size), train=train, search=search, test=test)


def enlarged_digits(size: int = 224) -> Data:
    """Return scikit-learn's digits, which need no download; `SCORED` of the training ones are the validation split."""
    digits = enlarged(load_data("digits"), size)
    train = digits.train
    scored = replace(train, positions=train.positions[:SCORED], labels=train.labels[:SCORED])
    return replace(digits, search=scored)
