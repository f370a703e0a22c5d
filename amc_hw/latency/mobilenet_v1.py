"""The operators of TensorFlow's MobileNetV1 for any channel counts, without a converter."""

from __future__ import annotations

from collections.abc import Sequence

from amc_hw.latency.operators import Operator

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


def mobilenet_v1_operators(
    channels: Sequence[int] = CHANNELS,
    *,
    strides: Sequence[int] = STRIDES,
    classes: int = 1001,
    size: int = 224,
    softmax: bool = True,
) -> list[Operator]:
    """Return the operators as TensorFlow's exporter writes them: SAME padding, ReLU6, a 1x1 convolution at the end.

    Args:
        channels: output channels of the stem and of every separable block (arXiv:1704.04861, table 1).
        strides: of the blocks.
        classes: outputs of the classifier; TensorFlow's has one for the background.
        size: side of the image in pixels.
        softmax: whether the exported graph ends with probabilities.
    """
    c_in, *outputs = channels
    side = -(-size // 2)
    operators = [_convolution((size, 3), (side, c_in), kernel=3, stride=2)]
    for c_out, stride in zip(outputs, strides, strict=True):
        smaller = -(-side // stride)
        operators.append(_depthwise((side, c_in), smaller, stride))
        operators.append(_convolution((smaller, c_in), (smaller, c_out), kernel=1, stride=1))
        c_in, side = c_out, smaller
    pooled, logits = (1, 1, 1, c_in), (1, 1, 1, classes)
    window = ("s=2", f"k={side}", "pad=valid")
    operators.append(Operator("AVERAGE_POOL_2D", window, ((1, side, side, c_in),), (pooled,)))
    operators.append(Operator("CONV_2D", ("k=1x1", "s=1", "pad=same"), (pooled,), (logits,), c_in))
    operators.append(Operator("SQUEEZE", (), (logits,), ((1, classes),)))
    if softmax:
        operators.append(Operator("SOFTMAX", (), ((1, classes),), ((1, classes),)))
    return operators


def _convolution(read: tuple[int, int], written: tuple[int, int], kernel: int, stride: int) -> Operator:
    """A convolution from (side, channels) to (side, channels)."""
    return Operator(
        "CONV_2D",
        (f"k={kernel}x{kernel}", f"s={stride}", "pad=same", "act=relu6"),
        ((1, read[0], read[0], read[1]),),
        ((1, written[0], written[0], written[1]),),
        kernel * kernel * read[1],
    )


def _depthwise(read: tuple[int, int], side: int, stride: int) -> Operator:
    return Operator(
        "DEPTHWISE_CONV_2D",
        ("k=3x3", f"s={stride}", "pad=same", "act=relu6"),
        ((1, read[0], read[0], read[1]),),
        ((1, side, side, read[1]),),
        9,
    )
