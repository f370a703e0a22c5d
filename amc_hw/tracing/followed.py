"""What following the channels of a network through one forward pass tells."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from amc_hw.tracing.attributes import Attribute
from amc_hw.tracing.labels import Labels
from amc_hw.tracing.network import Side
from amc_hw.tracing.operator import Noted


@dataclass
class Call:
    """One call of a convolution or linear layer: its module and the shape of its output.

    Of a transposed convolution it is the shape of its input, at whose positions the weights are applied.
    """

    name: str
    module: nn.Module
    shape: torch.Size


@dataclass
class Followed:
    """What one forward pass told.

    Attributes:
        book: the labels.
        sides: labels of every side of every leaf, and of bare parameters that a forward multiplies with.
        bare: labels of all other bare parameters.
        calls: of convolutions and linear layers; one of a bare parameter is listed under its name.
        makers: the layers and embeddings that make channels, once for each call.
        counts: the channels that attributes of modules count.
        functional: names of bare parameters that a forward multiplies with.
        noted: what operators noted beside labels.
    """

    book: Labels = field(default_factory=Labels)
    sides: dict[tuple[str, Side], Tensor] = field(default_factory=dict)
    bare: dict[str, Tensor] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    makers: list[str] = field(default_factory=list)
    counts: dict[Attribute, Tensor] = field(default_factory=dict)
    functional: set[str] = field(default_factory=set)
    noted: Noted = field(default_factory=Noted)
