"""The plain description of a network: its layers, which channels belong together, what any channel counts cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amc_hw.policy import Dimension, Policy

Side = Literal["out", "in"]


@dataclass(frozen=True)
class Member:
    """One dimension that follows a channel group.

    ``module`` is the dotted name of a convolution, linear layer, batch norm or PReLU, whose ``side`` says which
    of its dimensions; or of a parameter that stands outside of these, whose ``axis`` says which.
    ``positions`` (channels, k): the positions of that dimension that belong to every channel.
    """

    module: str
    side: Side
    positions: NDArray[np.intp]
    axis: int = 0


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one layer with all that has to be removed with them.

    A depthwise or grouped convolution is a member with both sides; of the latter a channel is a whole group.
    """

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
    inputs_per_group: int  # of a grouped convolution; no policy changes them

    def macs(self, policy: Policy) -> int:
        """Return the multiply-accumulates for one image."""
        return self.out_h * self.out_w * self.weights(policy)

    def weights(self, policy: Policy) -> int:
        """Return the weights, biases not counted."""
        inputs = self.c_in.at(policy) if self.groups == 1 else self.inputs_per_group
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
