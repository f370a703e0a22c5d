"""Networks of coverage.py that no package has: two that hear keywords, and one that segments volumes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


class DsCnn(nn.Module):
    """Depthwise separable keyword network for 49 x 10 MFCC maps, after Zhang et al. 2017 (arXiv:1711.07128)."""

    def __init__(self, channels: int = 64, blocks: int = 4, words: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, channels, (10, 4), 2, (5, 1), bias=False), *norm_relu(channels)]
        for _ in range(blocks):
            layers += [nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False), *norm_relu(channels)]
            layers += [nn.Conv2d(channels, channels, 1, bias=False), *norm_relu(channels)]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, words)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class SubSpectralNorm(nn.Module):
    """A batch norm of its own for every channel in each of several bands of frequencies."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.norm = nn.BatchNorm2d(channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        n, c, f, t = x.shape
        return self.norm(x.view(n, c * self.bands, f // self.bands, t)).view(n, c, f, t)


class BroadcastBlock(nn.Module):
    """What a two-dimensional and a one-dimensional convolution add, the latter broadcast over frequencies."""

    def __init__(self, c_in: int, c_out: int, stride: int, dilation: int, bands: int = 5) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), *norm_relu(c_out)) if c_in != c_out else None
        self.frequency = nn.Conv2d(c_out, c_out, (3, 1), (stride, 1), (1, 0), groups=c_out, bias=False)
        self.bands = SubSpectralNorm(c_out, bands)
        time = nn.Conv2d(c_out, c_out, (1, 3), 1, (0, dilation), (1, dilation), groups=c_out, bias=False)
        self.time = nn.Sequential(time, nn.BatchNorm2d(c_out), nn.SiLU(), nn.Conv2d(c_out, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.enter is None else self.enter(x)
        y = self.bands(self.frequency(y))
        added = y + self.time(y.mean(2, keepdim=True))
        return F.relu(added + x if added.shape == x.shape else added)


class BcResNet(nn.Module):
    """Keyword network with broadcast residuals for 40 x 98 log-mel maps, like Kim et al. 2021 (arXiv:2106.04140)."""

    def __init__(self, width: int = 16, words: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2 * width, 5, (2, 1), 2, bias=False), *norm_relu(2 * width))
        stages = [(width, 1, 1), (width, 1, 1), (width * 3 // 2, 2, 2), (width * 3 // 2, 1, 2), (width * 2, 2, 4)]
        blocks, c_in = [], 2 * width
        for c_out, stride, dilation in stages:
            blocks.append(BroadcastBlock(c_in, c_out, stride, dilation))
            c_in = c_out
        self.blocks = nn.Sequential(*blocks)
        self.tail = nn.Sequential(nn.Conv2d(c_in, c_in, 5, 1, (0, 2), groups=c_in, bias=False), nn.Conv2d(c_in, 32, 1))
        self.words = nn.Conv2d(32, words, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.tail(self.blocks(self.stem(x))))
        return self.words(y.mean((2, 3), keepdim=True)).flatten(1)


def volume_block(c_in: int, c_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (c_in, c_out):
        layers += [nn.Conv3d(channels, c_out, 3, padding=1, bias=False), nn.BatchNorm3d(c_out), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet3d(nn.Module):
    """A U-Net for volumes, after Cicek et al. 2016 (arXiv:1606.06650)."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(volume_block(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose3d(2 * c, c, 2, 2) for c in widths[-2::-1])
        self.mix = nn.ModuleList(volume_block(2 * c, c) for c in widths[-2::-1])
        self.head = nn.Conv3d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        *skips, x = self._descend(x)
        for up, mix, skip in zip(self.up, self.mix, reversed(skips), strict=True):
            x = mix(torch.cat([skip, up(x)], 1))
        return self.head(x)

    def _descend(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool3d(found[-1], 2) if found else x)
            found.append(x)
        return found


OWN = {"ds_cnn": (DsCnn, (1, 49, 10)), "bc_resnet": (BcResNet, (1, 40, 98)), "unet_3d": (UNet3d, (1, 16, 32, 32))}
"""By name, with the shape (C, ...) of one input."""
