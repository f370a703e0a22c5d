"""The latency tables that are there for a device: the user's own, one for each fingerprint, and the shipped one."""

from __future__ import annotations

import re
from pathlib import Path

from amc_hw.errors import TableError, UsageError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.read_table import load_table
from amc_hw.latency.shipped_tables import find_table, shipped_table
from amc_hw.latency.table import LatencyTable
from amc_hw.runs.cache import cache_folder

ALIKE = ("dtype", "batch_size", "simulated")
"""What two fingerprints must share, so that one's table tells of the other."""

DIGEST = 8
"""Characters behind a table's name that tell fingerprints apart."""


def table_stem(device: str) -> str:
    """Return how the files of a device's tables begin."""
    return re.sub(r"[^A-Za-z0-9]+", "-", device)


def kept_tables(device: str) -> list[Path]:
    """Return the tables that were measured for a device on this machine, of every precision and runtime."""
    return sorted(cache_folder("tables").glob(f"{table_stem(device)}-{'[0-9a-f]' * DIGEST}.json"))


def alike_tables(like: str) -> list[Path]:
    """Return the tables that a user means as the beginning of another one.

    Args:
        like: a device's name, of which all kept tables are meant and the shipped one; or a table's file.

    Raises:
        UsageError: there is no such table.
    """
    if Path(like).suffix == ".json" or Path(like).is_file():
        return [find_table(Path(like))]
    shipped = shipped_table(like)
    found = [*kept_tables(like), *([shipped] if shipped else [])]
    if not found:
        raise UsageError(
            f"there is no table of '{like}' to begin with; name a table's file, or make one there: "
            f"amc-hw profile --device {like} --model MODEL"
        )
    return found


def find_alike(like: str, fingerprint: Fingerprint) -> tuple[LatencyTable, Path]:
    """Return the table that another device's may begin with, of several the one that was begun last, and its file.

    Args:
        like: see `alike_tables`.
        fingerprint: of the new device.

    Raises:
        UsageError: there is no such table, or it is the new device's own.
        TableError: it is damaged, of another precision or batch size, or was transferred itself.
    """
    tables = [(load_table(path), path) for path in alike_tables(like)]
    measured = [(table, path) for table, path in tables if table.transfer is None]
    fit = [each for each in measured if not _apart(each[0].fingerprint, fingerprint)]
    others = [each for each in fit if each[0].fingerprint != fingerprint]
    if others:
        return max(others, key=lambda each: each[0].created)
    if fit:
        raise UsageError(f"like={like} is the device itself; leave it out, or name a device that resembles it.")
    if measured:
        apart = "; ".join(_apart(measured[-1][0].fingerprint, fingerprint))
        raise TableError(
            f"{measured[-1][1]} is no beginning for this device ({apart}); name a table that has the same."
        )
    raise TableError(f"{tables[-1][1]} was transferred itself; name the table that it was made from.")


def _apart(one: Fingerprint, other: Fingerprint) -> list[str]:
    return [difference for difference in one.differences(other) if difference.split(":")[0] in ALIKE]
