"""What the runs of a sweep share, as it stands in their folders."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from amc_hw.policy import Precision
from amc_hw.runs.records import FileRecord, Record
from amc_hw.runs.values import Channels, Count, Fraction, Number, Positive


class Known(Record):
    """A line of known.jsonl: a policy that another run of the sweep has scored, and in which precision.

    In winners.jsonl, it is the one that was best there after a short fine-tune.
    """

    channels: Channels
    accuracy: Fraction
    precision: Precision


class ScoredImages(FileRecord):
    """sample.json: positions in the validation split, in the order in which they are looked at, and their weights.

    Attributes:
        offset: what is added to a weighted accuracy; see `amc_hw.search.sample.Sample`.
    """

    positions: Annotated[list[Count], Field(min_length=1)]
    weights: list[Positive]
    offset: Number = 0.0
