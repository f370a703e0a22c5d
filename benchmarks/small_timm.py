"""Networks of timm for images of 32 x 32, with ten classes and random weights: a ViT, ConvNeXts, an EfficientViT.

    amc-hw train --model benchmarks/small_timm.py:vit_tiny --data npz:DIR --epochs 20 --batch-size 64 --out vit_tiny.pt
    python benchmarks/league.py --model benchmarks/small_timm.py:vit_tiny --checkpoint vit_tiny.pt --data npz:DIR \\
        --budgets 0.6x --only one-ratio,auto --episodes 12 --epochs 0 --out league-vit_tiny

They are timm's own but for their first strides, which are for larger images.
"""

from __future__ import annotations

import timm
from torch import nn


def vit_tiny(num_classes: int = 10) -> nn.Module:
    """Twelve blocks of width 192 on 16 patches of 8 x 8."""
    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=num_classes)


def convnext_atto(num_classes: int = 10) -> nn.Module:
    """Four stages of maps of 16 x 16 to 2 x 2."""
    return timm.create_model("convnext_atto", patch_size=2, num_classes=num_classes)


def convnext_narrow(num_classes: int = 10) -> nn.Module:
    """The same with fewer channels and blocks, so that hardly any is left over."""
    shape = {"depths": (2, 2, 4, 2), "dims": (24, 48, 96, 192)}
    return timm.create_model("convnext_atto", patch_size=2, num_classes=num_classes, **shape)


def efficientvit_b0(num_classes: int = 10) -> nn.Module:
    """Linear attention on maps of 4 x 4 and 2 x 2: the stem keeps the image's size."""
    model = timm.create_model("efficientvit_b0", num_classes=num_classes)
    model.stem.in_conv.conv.stride = (1, 1)
    return model
