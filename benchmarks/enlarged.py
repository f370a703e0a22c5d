"""scikit-learn's digits at the size of a phone's network: real images that need no download."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F

from amc_hw.data import Data, Part, load_data
from amc_hw.data_sources import InMemory

SCORED = 640


def enlarged_digits(size: int = 224) -> Data:
    """Return the digits as images of ``size`` x ``size`` pixels.

    A search scores on `SCORED` of the training images: a tenth of them, as elsewhere, would be few, and public
    checkpoints were trained on what is scored, too.
    """
    digits = load_data("digits")

    def enlarged(part: Part) -> Part:
        assert isinstance(part.images, InMemory)
        pixels = part.images.pixels.permute(0, 3, 1, 2).float()
        large = F.interpolate(pixels, size=size, mode="bilinear").round().byte().permute(0, 2, 3, 1).contiguous()
        return replace(part, images=InMemory(large))

    train, test = enlarged(digits.train), enlarged(digits.test)
    scored = replace(train, positions=train.positions[:SCORED], labels=train.labels[:SCORED])
    return replace(digits, name=f"digits at {size}", image_size=(1, size, size), train=train, search=scored, test=test)
