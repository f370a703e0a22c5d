"""The latency tables that are there for a device: the user's own, one for each fingerprint, and the shipped one."""

from __future__ import annotations

import re
from pathlib import Path

from amc_hw.runs.cache import cache_folder

DIGEST = 8
"""Characters behind a table's name that tell fingerprints apart."""


def table_stem(device: str) -> str:
    """Return how the files of a device's tables begin."""
    return re.sub(r"[^A-Za-z0-9]+", "-", device)


def kept_tables(device: str) -> list[Path]:
    """Return the tables that were measured for a device on this machine, of every precision and runtime."""
    return sorted(cache_folder("tables").glob(f"{table_stem(device)}-{'[0-9a-f]' * DIGEST}.json"))
