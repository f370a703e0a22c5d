"""The CIFAR networks of He et al. (arXiv:1512.03385, section 4.2): ResNet-20 ... 110 and Plain-20."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.models.mobilenet import initialise

_STAGE_CHANNELS = (16, 32, 64)


def resnet(depth: int, num_classes: int, in_channels: int = 3, *, residual: bool = True) -> nn.Module:
    """Build the network of `depth` = 6n + 2 layers; without shortcuts it is the paper's plain net."""
    return CifarResNet((depth - 2) // 6, num_classes, in_channels, residual)


class PadShortcut(nn.Module):
    """Option A: every second pixel, and zero channels around the input's; it has no parameters.

    It is written as a convolution with fixed weights, because that is one fast operator on every device;
    slicing and padding are several slow ones (a tenth of ResNet-20's latency with LiteRT on a CPU).
    """

    fixed: Tensor

    def __init__(self, channels: int, before: int, after: int):
        super().__init__()
        fixed = torch.zeros(before + channels + after, channels, 1, 1)
        fixed[before + torch.arange(channels), torch.arange(channels)] = 1.0
        self.register_buffer("fixed", fixed, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, before + C + after, H / 2, W / 2)."""
        return F.conv2d(x, self.fixed, stride=2)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the input is added to their output unless `residual` is false."""

    def __init__(self, c_in: int, c_out: int, stride: int, residual: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.residual = residual
        added = c_out - c_in
        downsamples = residual and stride > 1
        self.shortcut = PadShortcut(c_in, added // 2, added - added // 2) if downsamples else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.residual:
            y = y + self.shortcut(x)
        return F.relu(y)


class CifarResNet(nn.Module):
    """A stem, three stages of `blocks` blocks with 16, 32 and 64 channels, and a classifier."""

    def __init__(self, blocks: int, num_classes: int, in_channels: int, residual: bool):
        super().__init__()
        first, second, third = _STAGE_CHANNELS
        self.conv1 = nn.Conv2d(in_channels, first, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, first, 1, blocks, residual)
        self.layer2 = _stage(first, second, 2, blocks, residual)
        self.layer3 = _stage(second, third, 2, blocks, residual)
        self.linear = nn.Linear(third, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def _stage(c_in: int, c_out: int, stride: int, blocks: int, residual: bool) -> nn.Sequential:
    first = BasicBlock(c_in, c_out, stride, residual)
    return nn.Sequential(first, *(BasicBlock(c_out, c_out, 1, residual) for _ in range(blocks - 1)))
