"""The plain description of a network: its layers, which channels belong together, and what any channel counts cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

Policy = Mapping[str, int]  # channels kept for every channel group, in network order


@dataclass(frozen=True)
class Dimension:
    """A number of channels that follows from a policy: ``constant`` + for every group its channels x ``widths``.

    A concatenation has several groups; the features of a flattened map have the map's area as width.
    """

    constant: int
    groups: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()  # positions that one channel of each group takes

    def at(self, policy: Policy) -> int:
        """Return the size for a policy."""
        return self.constant + sum(policy[group] * width for group, width in zip(self.groups, self.widths, strict=True))


@dataclass(frozen=True)
class Member:
    """One dimension that follows a channel group.

    ``module`` is the dotted name of a convolution, linear layer, batch norm or PReLU (whose ``side`` says which of its dimensions),
    or of a parameter that stands outside of these (whose ``axis`` says which). ``positions`` (channels, k): the positions of
    that dimension that belong to every channel.
    """

    module: str
    side: Literal["out", "in"]
    positions: NDArray[np.intp]
    axis: int = 0


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together everywhere. A depthwise or grouped convolution is a member with both sides."""

    name: str  # dotted name of the first layer that produces them
    channels: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Layer:
    """One call of a convolution or linear layer, with its shape as a function of the policy.

    ``out_h`` x ``out_w`` output positions for one image; of a linear layer ``out_h`` counts its rows.
    """

    name: str
    kind: Literal["conv", "linear"]
    c_in: Dimension
    c_out: Dimension
    kernel: tuple[int, int]
    stride: tuple[int, int]
    groups: int  # convolution groups of the original
    depthwise: bool
    out_h: int
    out_w: int
    per_group: int  # of a grouped convolution: the inputs of one group, which no policy changes

    def macs(self, policy: Policy) -> int:
        """Return the multiply-accumulates for one image."""
        return self.out_h * self.out_w * self.weights(policy)

    def weights(self, policy: Policy) -> int:
        """Return the weights, biases not counted."""
        inputs = self.c_in.at(policy) if self.groups == 1 else self.per_group
        return self.c_out.at(policy) * inputs * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Network:
    """A traced model. A layer that is called twice is listed twice in ``layers`` and counted once by ``params``."""

    groups: tuple[ChannelGroup, ...]  # in network order
    layers: tuple[Layer, ...]  # in the order of their calls
    unprunable: Mapping[str, str]  # layers whose output stays whole -> the reason, one clause
    tensors: tuple[tuple[Dimension, ...], ...] = field(repr=False)  # shapes of the parameters that some policy changes
    other_params: int  # elements of all other parameters
    other_macs: int  # of matrix products outside of convolutions and linear layers; no policy changes them

    @property
    def original(self) -> dict[str, int]:
        """The policy that keeps everything."""
        return {group.name: group.channels for group in self.groups}

    def macs(self, policy: Policy) -> int:
        """Return the multiply-accumulates of all layers for one image."""
        return self.other_macs + sum(layer.macs(policy) for layer in self.layers)

    def params(self, policy: Policy) -> int:
        """Return the number of parameters, biases and batch norms counted, running statistics not."""
        return self.other_params + sum(math.prod(size.at(policy) for size in shape) for shape in self.tensors)


def trace(model: nn.Module, example_input: Any) -> Network:
    """Find the layers and channel groups of a model, and prove every group on a copy before it is offered.

    The network's input and its output stay whole. For the proof, half of every group's channels are cut out of a copy with random
    batch-norm statistics, and its output must equal that of the copy with these channels masked.

    Args:
        model: any module; it is not changed.
        example_input: what ``model(example_input)`` takes: a batch of images (N, C, H, W), or a detector's list of images.

    Raises:
        UnsupportedModelError: the model cannot be run or copied, or its groups cannot be proven together.
    """
    from amc_hw.trace.assemble import prove_and_assemble

    return prove_and_assemble(model, example_input)


def channel_choices(channels: int, multiple: int = 8, lower: float = 0.2) -> tuple[int, ...]:
    """Return the channel counts that a search may choose for a group, ascending; the last is ``channels``.

    In narrow groups the multiple shrinks, to the largest power of two that is at most an eighth of the channels.

    Args:
        channels: the channels of the original.
        multiple: counts are multiples of this; a power of two.
        lower: the least ratio kept.
    """
    step = 1
    while step * 2 <= min(multiple, max(1, channels // 8)):
        step *= 2
    least = max(1, math.ceil(lower * channels - 1e-9))
    return (*range(math.ceil(least / step) * step, channels, step), channels)
