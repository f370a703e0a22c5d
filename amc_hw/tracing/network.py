"""The plain description of a network: its layers, which channels belong together, what any channel counts cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amc_hw.policy import Dimension, Policy

Side = Literal["out", "in", "size", "mixed", "scaled"]


@dataclass(frozen=True)
class Member:
    """One dimension that follows a channel group.

    ``module`` is the dotted name of a convolution, linear layer, batch norm or PReLU, whose ``side`` says which
    of its dimensions; or of a parameter that stands outside of these, whose ``axis`` says which; or of an integer
    attribute (``axis`` is its place, if it is a tuple or list) that counts channels, whose ``side`` is "size" where it
    was found by its value alone. With the side "mixed" it is a module with the operator that ``axis`` numbers, whose
    results come of these channels together; with the side "scaled" a layer or a parameter whose weights of these
    channels are multiplied by the root of the share of channels that stays (`amc_hw.tracing.queries`).
    ``positions`` (channels, k): the positions of that dimension that belong to every channel.
    """

    module: str
    side: Side
    positions: NDArray[np.intp]
    axis: int = 0


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one layer with all that has to be removed with them.

    A depthwise or grouped convolution is a member with both sides. Of the latter a channel is a whole group, or as much
    of every group where the groups are wide and few (`amc_hw.tracing.kinds.in_equal_parts`).
    """

    name: str  # dotted name of the first layer that produces them
    channels: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Block:
    """A module that only adds to what enters it, so that it can be left out whole: a residual block.

    A policy with 0 channels in ``group``, the first of the channel groups ``inside`` the block, leaves it out.
    """

    name: str  # dotted name of the module
    group: str
    inside: tuple[str, ...]

    def holds(self, name: str) -> bool:
        """Tell whether a module or parameter is part of the block."""
        return name == self.name or name.startswith(f"{self.name}.")


@dataclass(frozen=True)
class Parameter:
    """A tensor of weights, with its shape as a function of the policy.

    ``block`` is the group whose 0 channels leave it out with its block.
    """

    shape: tuple[Dimension, ...]
    block: str | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that its size depends on."""
        return _groups(self.shape, self.block)

    def size(self, policy: Policy) -> int:
        """Return the number of elements."""
        return 0 if _is_out(self.block, policy) else math.prod(dimension.at(policy) for dimension in self.shape)


@dataclass(frozen=True)
class Layer:
    """One call of a convolution or linear layer, with its shape as a function of the policy.

    ``out_h`` x ``out_w`` positions for one image at which the weights are applied: of the output, of a transposed
    convolution those of the input; of a linear layer ``out_h`` counts its rows, of a convolution over time it is 1, of
    one over a volume depth x height; times the maps that an image is taken apart into (heads, windows). ``block`` is
    the group whose 0 channels leave the layer out with its block.
    """

    name: str
    kind: Literal["conv", "linear"]
    c_in: Dimension
    c_out: Dimension
    kernel: tuple[int, ...]  # a number for each dimension of the map
    stride: tuple[int, ...]
    groups: int  # convolution groups of the original
    depthwise: bool
    out_h: int
    out_w: int
    inputs_per_group: int | None  # of a convolution that loses whole groups; no policy changes them
    block: str | None = None
    transposed: bool = False

    @property
    def outputs(self) -> int:
        """The output positions for one image, those beyond the border of a transposed convolution's map counted."""
        return self.out_h * self.out_w * (math.prod(self.stride) if self.transposed else 1)

    @property
    def policy_groups(self) -> tuple[str, ...]:
        """The channel groups that its size depends on."""
        return _groups((self.c_in, self.c_out), self.block)

    def macs(self, policy: Policy) -> int:
        """Return the multiply-accumulates for one image."""
        return self.out_h * self.out_w * self.weights(policy)

    def weights(self, policy: Policy) -> int:
        """Return the weights, biases not counted."""
        if _is_out(self.block, policy):
            return 0
        inputs = self.inputs_per_group or self.c_in.at(policy) // self.groups
        return self.c_out.at(policy) * inputs * math.prod(self.kernel)

    def biases(self, policy: Policy) -> int:
        """Return the outputs, each of which has a bias in an exported file."""
        return 0 if _is_out(self.block, policy) else self.c_out.at(policy)


@dataclass(frozen=True)
class Product:
    """A matrix product of activations (batch, rows, inner, columns), with its shape as a function of the policy.

    ``images`` are those in its batch. ``block`` is the group whose 0 channels leave it out with its block.
    """

    name: str  # dotted name of the module that multiplies
    shape: tuple[Dimension, ...]
    images: int
    block: str | None = None

    @property
    def policy_groups(self) -> tuple[str, ...]:
        """The channel groups that its size depends on."""
        return _groups(self.shape, self.block)

    def macs(self, policy: Policy) -> int:
        """Return the multiply-accumulates for one image."""
        if _is_out(self.block, policy):
            return 0
        return math.prod(dimension.at(policy) for dimension in self.shape) // self.images


class Why(Enum):
    """Who decided that channels stay."""

    NETWORK = "the way of the channels through the network, which is not understood or does not let them go"
    USER = "the patterns of what to exclude or to include"


@dataclass(frozen=True)
class Reason:
    """Why channels stay: who decided it, and one clause for people."""

    why: Why
    text: str


@dataclass(frozen=True)
class Network:
    """A traced model. A layer that is called twice is listed twice in ``layers`` and counted once by ``params``."""

    groups: tuple[ChannelGroup, ...]  # in network order
    layers: tuple[Layer, ...]  # in the order of their calls
    reasons: Mapping[str, Reason]  # layers whose output stays whole -> why
    parameters: tuple[Parameter, ...] = field(repr=False)  # those that some policy changes or leaves out
    other_params: int  # elements of all other parameters
    other_macs: int  # of what is neither a layer nor a product; no policy changes them
    blocks: tuple[Block, ...] = ()  # that can be left out
    products: tuple[Product, ...] = ()  # of activations: attention

    @property
    def unprunable(self) -> dict[str, str]:
        """The layers whose output stays whole, with the reason in one clause."""
        return {layer: reason.text for layer, reason in self.reasons.items()}

    @property
    def parts(self) -> list[Layer | Product]:
        """All whose multiply-accumulates follow the policy."""
        return [*self.layers, *self.products]

    @property
    def original(self) -> dict[str, int]:
        """The policy that keeps everything."""
        return {group.name: group.channels for group in self.groups}

    def macs(self, policy: Policy) -> int:
        """Return the multiply-accumulates of all layers and products for one image."""
        return self.other_macs + sum(part.macs(policy) for part in self.parts)

    def params(self, policy: Policy) -> int:
        """Return the number of parameters, biases and batch norms counted, running statistics not."""
        return self.other_params + sum(parameter.size(policy) for parameter in self.parameters)

    def left_out(self, policy: Policy) -> list[Block]:
        """Return the blocks that a policy leaves out; groups that it does not name are whole."""
        return [block for block in self.blocks if policy.get(block.group) == 0]


def _groups(shape: tuple[Dimension, ...], block: str | None) -> tuple[str, ...]:
    found = dict.fromkeys(group for dimension in shape for group in dimension.groups)
    return tuple(found if block is None else {**found, block: None})


def _is_out(block: str | None, policy: Policy) -> bool:
    return block is not None and policy[block] == 0
