"""What a latency table keeps of whole networks where a device tells no operator's time."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from amc_hw.latency.families import is_family, kind_of, sizes
from amc_hw.latency.operators import MATMUL_KINDS

Floats = NDArray[np.float64]
Channels = Annotated[int, Field(ge=1, lt=10**6)]
Coefficient = Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Tiles = tuple[int, int]
"""Of the input and of the output channels."""


def sizes_at(family: str, c_in: Floats, c_out: Floats, tiles: Tiles) -> Floats:
    """Return an operator's sizes (operators x 4) at arrays of channel counts, in whole tiles of channels."""
    inside, outside = (np.ceil(c / tile) * tile for c, tile in zip((c_in, c_out), tiles, strict=True))
    both = inside * outside if kind_of(family).split(" ")[0] in MATMUL_KINDS else outside
    found: Floats = np.stack([both, inside, outside, both], axis=1) * sizes(family, 1, 1).features()
    return found


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(_Strict):
    """A family's share of a network's time: a staircase in its channels, learned from whole networks.

    Attributes:
        family: the operator but for its channels.
        tile_in: input channels are computed in whole tiles of so many.
        tile_out: likewise output channels.
        us_per: microseconds for each multiply-accumulate, and each value read, written and kept as weight.
    """

    family: str
    tile_in: Channels
    tile_out: Channels
    us_per: Annotated[list[Coefficient], Field(min_length=4, max_length=4)]

    @property
    def tile(self) -> int:
        """The step of the staircase in output channels."""
        return self.tile_out

    def predict_us(self, c_in: Floats, c_out: Floats) -> Floats:
        """Return the share in microseconds for arrays of channel counts."""
        found: Floats = sizes_at(self.family, c_in, c_out, (self.tile_in, self.tile_out)) @ np.array(self.us_per)
        return found

    def covers(self, c_in: int, c_out: int) -> bool:
        """Tell whether the share answers for channel counts: it is a formula, and answers for all."""
        return True


class Deviations(_Strict):
    """How operators deviate from their shares; see `amc_hw.latency.deviations`.

    Attributes:
        length: difference of logarithms of channels over which a family's function changes.
        amplitude: its standard deviation, as a part of the share.
        period: output channels in a tile.
        step: standard deviation of the function of the place in it.
        noise: of a network's time, as a part of it.
        base_us: time of every network by the shares and the constant.
        weights: of every network in the functions.
    """

    length: Positive
    amplitude: Positive
    period: Annotated[int, Field(ge=1, le=1024)]
    step: Positive
    noise: Positive
    base_us: list[Positive]
    weights: list[Finite]


class Deviation(_Strict):
    """How one family deviates from its share, as a function of its channels that was carried over from another device.

    A sum of bells around pairs of channels, and a value for each place of the output channels in a tile; see
    `amc_hw.latency.deviations.Deviating`.

    Attributes:
        family: the operator but for its channels.
        length: width of the bells, a difference of logarithms of channels.
        channels: input and output channels in the middle of each.
        weights: height of each, as a part of the share.
        by_phase: for output channels divided by so many with the remainder 0, 1, ...
    """

    family: str
    length: Positive
    channels: list[Annotated[list[Channels], Field(min_length=2, max_length=2)]]
    weights: list[Finite]
    by_phase: Annotated[list[Finite], Field(min_length=1, max_length=1024)]

    @model_validator(mode="after")
    def _belong_together(self) -> Deviation:
        if len(self.channels) != len(self.weights):
            raise ValueError("weights are of other channels")
        return self


class WholeNetwork(_Strict):
    """A network that was timed as a whole.

    Attributes:
        structure: `amc_hw.latency.prediction.structure_of` its operators.
        model: its name for people.
        channels: input and output channels of each operator.
        measured_ms: its time.
        original: it has all its channels.
        unstable: its visits disagree.
    """

    structure: str
    model: str
    channels: list[Annotated[list[Channels], Field(min_length=2, max_length=2)]]
    measured_ms: Annotated[float, Field(ge=1e-9, lt=1e6, allow_inf_nan=False)]
    original: bool = False
    unstable: bool = False


class Totals(_Strict):
    """Whole networks and what was learned of them.

    Attributes:
        families: of each operator, by structure of network.
        networks: those that were timed.
        shares: one for each family; of those that are fused into others it is zero.
        deviations: from the shares, where these are not all that the networks tell.
        carried: deviations that the networks of another device told, one for each family; empty but in transferred
            tables.
    """

    families: dict[str, list[str]] = {}
    networks: list[WholeNetwork] = []
    shares: list[Share] = []
    deviations: Deviations | None = None
    carried: list[Deviation] = []

    @model_validator(mode="after")
    def _belong_together(self) -> Totals:
        names = [share.family for share in self.shares]
        if not all(map(is_family, [*names, *(each for own in self.families.values() for each in own)])):
            raise ValueError("a family is no operator")
        if any(len(network.channels) != len(self.families.get(network.structure, ())) for network in self.networks):
            raise ValueError("a network has other operators than its structure")
        told = self.deviations
        if told is not None and not len(told.base_us) == len(told.weights) == len(self.networks):
            raise ValueError("deviations are of other networks")
        if told is not None and {f for families in self.families.values() for f in families} - set(names):
            raise ValueError("a family has no share")
        if {each.family for each in self.carried} - set(names) or (self.carried and told is not None):
            raise ValueError("deviations were carried over of other families than have a share, or beside own ones")
        return self

    def operators(self, network: WholeNetwork) -> tuple[tuple[str, int, int], ...]:
        """Return the family and channels of each operator of a network."""
        families = self.families[network.structure]
        return tuple((f, c_in, c_out) for f, (c_in, c_out) in zip(families, network.channels, strict=True))
