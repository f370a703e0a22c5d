"""What a latency table keeps of the table that it was carried over from."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from amc_hw.latency.fingerprint import Fingerprint


class Transfer(BaseModel):
    """Where a transferred table came from, and for which network its error was measured.

    Attributes:
        fingerprint: of the device that the other table was measured on.
        created: when that table was begun, UTC, ISO 8601.
        structure: `amc_hw.latency.prediction.structure_of` the one network that the table answers for.
        model: its name for people.
        networks: how many were measured on this device to carry the table over; those that the error was measured on
            are others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fingerprint: Fingerprint
    created: str
    structure: str
    model: str
    networks: Annotated[int, Field(ge=1, lt=10**9)]
