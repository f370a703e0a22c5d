"""A latency table: what was measured on one device, its file, and the refusal of everything that is not sound.

lookup_tables/README.md documents the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from amc_hw.errors import TableError, path_of
from amc_hw.latency.families import is_family
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.outdated import doubt_of, outdated
from amc_hw.latency.share import Totals
from amc_hw.latency.transferred import Transfer
from amc_hw.runs.files import write_text
from amc_hw.runs.simulated import tell_simulated

_CURE = "move it away; a run measures its own again, else make it with: amc-hw profile, or amc-hw table import"
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


def load_table(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        TableError: the file is missing, cut short, of an unknown version, or has a missing or impossible value;
            the message names the place.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TableError(f"the latency table {path} does not exist; make it with: amc-hw profile") from error
    except IsADirectoryError as error:
        raise TableError(f"the latency table {path} is a folder; name a table's file, or a shipped table.") from error
    except OSError as error:
        raise TableError(
            f"cannot read the latency table {path}: {error.strerror or error}; check its path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is no text, so no latency table; make one with: amc-hw profile") from error
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is cut short or no JSON ({error}); {_CURE}") from error
    return parse_table(document, str(path))


def parse_table(document: Any, place: str) -> LatencyTable:
    """Check a table that was read as JSON; ``place`` names it in errors.

    Raises:
        TableError: see `load_table`.
    """
    if not isinstance(document, dict) or "format" not in document:
        raise TableError(f"{place} is no latency table (it has no 'format'); make one with: amc-hw profile")
    if type(document["format"]) is not int or not 1 <= document["format"] <= FORMAT:
        raise TableError(
            f"{place} has format {repr(document['format'])[:40]}; this version of amc-hw reads formats 1 to {FORMAT}: "
            "update amc-hw."
        )
    try:
        table = LatencyTable.model_validate(document, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = path_of(first["loc"]) or "its root"
        raise TableError(f"{place} has a bad value at {where}: {first['msg']}; {_CURE}") from error
    except UnicodeError as error:
        raise TableError(f"{place} holds text that is no Unicode; {_CURE}") from error
    carried = table.transfer is not None
    if table.transfer is not None and table.transfer.structure not in table.errors:
        raise TableError(f"{place} was transferred and does not say how far off it is; {_CURE}")
    if carried != (table.format == FORMAT) or any(entry.transferred > carried for entry in table.entries):
        raise TableError(
            f"{place} has format {table.format}; what was transferred, and it alone, has {FORMAT}; {_CURE}"
        )
    if not carried and (table.totals is not None) != (table.format == LEARNED):
        raise TableError(f"{place} has format {table.format}, whole networks' totals belong to format 3; {_CURE}")
    seen: set[tuple[str, int, int]] = set()
    for entry in table.entries:
        if entry.key in seen:
            raise TableError(f"{place} has the entry {entry.key} twice; {_CURE}")
        seen.add(entry.key)
    if table.format == 1 and not outdated(table.notes):
        models = [network.model for network in table.calibration]
        if doubt := doubt_of(table.method, table.fingerprint.runtime, table.fingerprint.threads, models, place):
            table.note(doubt)
        else:
            table.format = 2
    return table
