"""MobileNetV1 and V2 (arXiv:1704.04861, arXiv:1801.04381) with the parameter names of AMC's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.errors import UsageError

_V1_CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_V1_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

# V2, table 2: (expansion of the input, output channels, repeats, stride of the first repeat)
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_V2_STEM, _V2_LAST = 32, 1280


def mobilenet_v1(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    channels: Sequence[int] | None = None,
    cifar: bool = False,
) -> nn.Module:
    """Build MobileNetV1.

    Args:
        num_classes: outputs of the classifier.
        in_channels: channels of the image.
        width: multiplier of every layer's channels; ignored where `channels` is given.
        channels: output channels of the stem and of the 13 blocks, as AMC lists them (without the leading 3).
        cifar: the 32x32 shape: the stem keeps the resolution, and there is no dropout.

    Raises:
        UsageError: `channels` has another length.
    """
    strides = (1, *_V1_STRIDES[1:]) if cifar else _V1_STRIDES
    if channels is None:
        channels = [_scaled(c, width) for c in _V1_CHANNELS]
    _check_length(channels, len(_V1_CHANNELS), "the stem and 13 blocks")
    return MobileNetV1(num_classes, in_channels, channels, strides, dropout=0.0 if cifar else 0.2)


def mobilenet_v2(
    num_classes: int,
    in_channels: int = 3,
    *,
    width: float = 1.0,
    channels: Sequence[int] | None = None,
    cifar: bool = False,
) -> nn.Module:
    """Build MobileNetV2.

    Args:
        num_classes: outputs of the classifier.
        in_channels: channels of the image.
        width: multiplier of every layer's channels; ignored where `channels` is given.
        channels: as AMC lists them (without the leading 3): stem, first block, hidden and output channels
            of each of the 16 other blocks, then the last convolution.
        cifar: the 32x32 shape: stem and second stage keep the resolution, and there is no dropout.

    Raises:
        UsageError: `channels` has another length.
    """
    strides = [s if i == 0 else 1 for _, _, repeats, s in _V2_STAGES for i in range(repeats)]
    if cifar:
        strides[1] = 1
    if channels is None:
        channels = _v2_channels(width)
    _check_length(channels, 3 + 2 * (len(strides) - 1), "stem, first block, 16 pairs and the last layer")
    stem_stride, dropout = (1, 0.0) if cifar else (2, 0.2)
    return MobileNetV2(num_classes, in_channels, channels, [stem_stride, *strides], dropout)


class MobileNetV1(nn.Module):
    """A stem and depthwise-separable blocks with ReLU; `channels` and `strides` count the stem."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        channels: Sequence[int],
        strides: Sequence[int],
        dropout: float,
    ):
        super().__init__()
        self.conv1 = nn.Sequential(*_conv_bn(in_channels, channels[0], 3, strides[0]), nn.ReLU())
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    *_conv_bn(c_in, c_in, 3, stride, groups=c_in),
                    nn.ReLU(),
                    *_conv_bn(c_in, c_out, 1),
                    nn.ReLU(),
                )
                for c_in, c_out, stride in zip(channels, channels[1:], strides[1:], strict=False)
            )
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels[-1], num_classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(self.features(self.conv1(x)), 1).flatten(1))
        return logits


class InvertedResidual(nn.Module):
    """MobileNetV2's block; without expansion where `hidden` is `c_in` and `expand` is false."""

    def __init__(self, c_in: int, hidden: int, c_out: int, stride: int, expand: bool = True):
        super().__init__()
        expansion = [*_conv_bn(c_in, hidden, 1), nn.ReLU6()] if expand else []
        self.conv = nn.Sequential(
            *expansion,
            *_conv_bn(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(),
            *_conv_bn(hidden, c_out, 1),
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Add the input where its shape is the output's."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """A stem, inverted residuals with ReLU6, and a 1x1 convolution; `strides` counts the stem."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        channels: Sequence[int],
        strides: Sequence[int],
        dropout: float,
    ):
        super().__init__()
        stem, first, *pairs, last = channels
        blocks = [InvertedResidual(stem, stem, first, strides[1], expand=False)]
        c_in = first
        for hidden, c_out, stride in zip(pairs[::2], pairs[1::2], strides[2:], strict=True):
            blocks.append(InvertedResidual(c_in, hidden, c_out, stride))
            c_in = c_out
        self.features = nn.Sequential(
            nn.Sequential(*_conv_bn(in_channels, stem, 3, strides[0]), nn.ReLU6()),
            *blocks,
            nn.Sequential(*_conv_bn(c_in, last, 1), nn.ReLU6()),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return logits


def initialise(model: nn.Module) -> None:
    """Draw convolutions as He et al. (arXiv:1502.01852, fan-out) and the classifier from N(0, 0.01)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def _conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(c_out)]


def _v2_channels(width: float) -> list[int]:
    """V2's channels in AMC's order; as in the paper the last layer is never narrowed."""
    c_in = _scaled(_V2_STEM, width)
    channels = [c_in]
    for expansion, c_out, repeats, _ in _V2_STAGES:
        for _ in range(repeats):
            hidden = [] if expansion == 1 else [c_in * expansion]
            c_in = _scaled(c_out, width)
            channels += [*hidden, c_in]
    return [*channels, _scaled(_V2_LAST, max(1.0, width))]


def _scaled(channels: int, width: float) -> int:
    """Scale, rounded to a multiple of 8 but never down by more than a tenth (the MobileNets' own rule)."""
    target = channels * width
    rounded = max(8, int(target + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * target else rounded + 8


def _check_length(channels: Sequence[int], expected: int, what: str) -> None:
    if len(channels) != expected:
        raise UsageError(f"the channel list needs {expected} numbers ({what}), not {len(channels)}.")
