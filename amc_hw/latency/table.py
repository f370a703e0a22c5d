"""A latency table: what was measured on one device, and how that is written.

lookup_tables/README.md documents the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from amc_hw.errors import TableError
from amc_hw.latency.families import is_family
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.share import Totals
from amc_hw.latency.transferred import Transfer
from amc_hw.runs.files import write_text
from amc_hw.runs.simulated import tell_simulated

_OTHER_TABLE = "name another table=, and the device is measured into that."
FORMAT: Literal[4] = 4
"""History: 1, the first; 2, measured in files whose every bias has the shape of its own operator; 3, has ``totals``; 4,
has ``transfer``."""
LEARNED: Literal[3] = 3

Microseconds = Annotated[float, Field(ge=1e-6, lt=1e9, allow_inf_nan=False)]
Spread = Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=1e-9, lt=1e6, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1e3, allow_inf_nan=False)]
Channels = Annotated[int, Field(ge=1, lt=10**6)]
Count = Annotated[int, Field(ge=1, lt=10**9)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Strict):
    """One operator with its channels, measured inside running networks (times in microseconds).

    Attributes:
        family: the operator but for its channels (`amc_hw.latency.operators.Operator.family`).
        c_in: input channels.
        c_out: output channels.
        count: samples behind the statistics.
        mean_us: mean; the slowest quarter of each network's runs (interruptions) is left out.
        median_us: median.
        p90_us: ninetieth percentile.
        std_us: standard deviation.
        unstable: the repeats spread too far, also when measured again.
        transferred: the statistics are another device's, carried over; nothing was measured here.
    """

    family: str
    c_in: Channels
    c_out: Channels
    count: Count
    mean_us: Microseconds
    median_us: Microseconds
    p90_us: Microseconds
    std_us: Spread
    unstable: bool = False
    transferred: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Entry:
        if not is_family(self.family):
            raise ValueError(f"'{self.family[:80]}' is no operator")
        if self.median_us > self.p90_us * (1 + 1e-9):
            raise ValueError("the median is over the ninetieth percentile")
        # Half of the samples are at or above the median, and the mean leaves out a quarter of all, or none.
        if not self.median_us / 3 <= self.mean_us * (1 + 1e-9) <= (self.p90_us + self.std_us) * (1 + 1e-6):
            raise ValueError("no samples have this mean with this median, percentile and deviation")
        return self

    @property
    def key(self) -> tuple[str, int, int]:
        """What the entry is of."""
        return (self.family, self.c_in, self.c_out)

    @staticmethod
    def of(family: str, c_in: int, c_out: int, samples_us: Iterable[float], unstable: bool = False) -> Entry:
        """Reduce raw samples to an entry."""
        # The runtime counts whole microseconds, so a kernel may show 0: half the resolution stands for it.
        samples = np.maximum(np.sort(np.asarray(list(samples_us), float)), 0.5)
        quiet = samples[: max(1, len(samples) - len(samples) // 4)]
        return Entry(
            family=family,
            c_in=c_in,
            c_out=c_out,
            count=len(samples),
            mean_us=float(quiet.mean()),
            median_us=float(np.median(samples)),
            p90_us=float(np.percentile(samples, 90)),
            std_us=float(samples.std()),
            unstable=unstable,
        )

    def joined(self, other: Entry) -> Entry:
        """Put two measurements of the same operator together, weighted by their samples.

        A steady measurement replaces an unstable one, and a measurement what was transferred.
        """
        if self.transferred != other.transferred:
            return other if self.transferred else self
        if self.unstable != other.unstable:
            return other if self.unstable else self
        total = self.count + other.count
        ours, theirs = self.count / total, other.count / total
        # The spread of both together: within each, and between their means.
        apart = (self.mean_us - other.mean_us) * (ours * theirs) ** 0.5
        return Entry(
            family=self.family,
            c_in=self.c_in,
            c_out=self.c_out,
            count=total,
            mean_us=ours * self.mean_us + theirs * other.mean_us,
            median_us=ours * self.median_us + theirs * other.median_us,
            p90_us=ours * self.p90_us + theirs * other.p90_us,
            std_us=math.hypot(self.std_us * ours**0.5, other.std_us * theirs**0.5, apart),
            unstable=self.unstable,
            transferred=self.transferred,
        )


class CalibrationNetwork(_Strict):
    """One whole network: the sum of its operators by the table, and what the clock said (milliseconds).

    Attributes:
        structure: `amc_hw.latency.prediction.structure_of` its operators.
        model: its name for people.
        operators_ms: the sum.
        measured_ms: the clock.
        original: it has all its channels.
        unstable: its visits disagree.
    """

    structure: str
    model: str
    operators_ms: Milliseconds
    measured_ms: Milliseconds
    original: bool = False
    unstable: bool = False


class PredictionError(_Strict):
    """How far predictions were off on networks that were left out of the calibration (fractions).

    Attributes:
        networks: how many, each left out in turn.
        mean: of the absolute errors.
        worst: largest absolute error.
        left_out: signed error of each network by its name, in tables made from logs.
    """

    networks: Count
    mean: Fraction
    worst: Fraction
    left_out: dict[str, Annotated[float, Field(gt=-1, lt=1e3, allow_inf_nan=False)]] = {}


class LatencyTable(BaseModel):
    """Everything measured on one device.

    Attributes:
        format: 1 where `amc_hw.latency.outdated` doubts the times, 3 where they were learned from totals, 4 where they
            were transferred, else 2.
        fingerprint: what the measurements belong to.
        created: when the table was begun, UTC, ISO 8601.
        method: how it was measured, in a sentence.
        entries: one for each operator and channel counts.
        calibration: whole networks that tie the sum of operators to the clock.
        errors: prediction error by structure of network, from left-out networks.
        notes: warnings of the measurement (a busy machine), and for imported tables their source.
        version: of the amc-hw that began it; empty where that did not say.
        origins: what the samples are from, see `sources`; empty for what was measured into this table alone.
        totals: whole networks that the entries were learned from, where the device tells no operator's time.
        transfer: whose table this one was carried over from; None where everything was measured here.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1, 2, 3, 4] = 2
    fingerprint: Annotated[Fingerprint, BeforeValidator(tell_simulated)]
    created: str
    method: str
    entries: list[Entry] = []
    calibration: list[CalibrationNetwork] = []
    errors: dict[str, PredictionError] = {}
    notes: list[str] = []
    version: str = ""
    origins: list[str] = []
    totals: Totals | None = None
    transfer: Transfer | None = None

    @property
    def sources(self) -> list[str]:
        """What the samples are from: digests of logs, else when the measurement began, which copies of it share."""
        return self.origins or [self.created]

    def add(self, entries: Iterable[Entry]) -> None:
        """Join new entries with those that are there."""
        known = {entry.key: entry for entry in self.entries}
        for entry in entries:
            known[entry.key] = known[entry.key].joined(entry) if entry.key in known else entry
        self.entries = list(known.values())

    def note(self, sentence: str) -> None:
        """Add a sentence to the notes, once."""
        if sentence not in self.notes:
            self.notes = [*self.notes, sentence]

    def families(self) -> dict[str, list[Entry]]:
        """Entries by family."""
        families: dict[str, list[Entry]] = {}
        for entry in self.entries:
            families.setdefault(entry.family, []).append(entry)
        return families

    def require(self, fingerprint: Fingerprint, path: Path, cure: str = _OTHER_TABLE) -> None:
        """Refuse measurements of another device; the message ends with the cure.

        Raises:
            TableError: a field of the fingerprint differs.
        """
        differences = self.fingerprint.differences(fingerprint)
        if differences:
            raise TableError(f"{path} was measured on something else ({'; '.join(differences)}); {cure}")

    def save(self, path: Path) -> None:
        """Write the table in one step; raise RunFolderError where the disk refuses."""
        # Tables without totals, or a transfer, are those that older versions read.
        document = self.model_dump(exclude={name for name in ("totals", "transfer") if getattr(self, name) is None})
        if self.totals is not None and not self.totals.carried:
            del document["totals"]["carried"]
        entries = document.pop("entries")
        if self.transfer is None:
            for entry in entries:
                del entry["transferred"]
        # One entry a line: people can read it, diff shows what changed, and it stays small.
        lines = ",\n  ".join(json.dumps(entry, allow_nan=False) for entry in entries)
        head = json.dumps(document, indent=1, allow_nan=False)
        write_text(path, f'{head[:-2]},\n "entries": [\n  {lines}\n ]\n}}\n')
