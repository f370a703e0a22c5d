"""The measured tables that travel with the package, by the name of their device."""

from __future__ import annotations

from pathlib import Path

from amc_hw.errors import TableError
from amc_hw.shipped import shipped


def shipped_tables() -> dict[str, Path]:
    """Return every shipped table: the device's name, as ``--device`` takes it, and the file."""
    return {file.stem: file for file in sorted(shipped("lookup_tables").glob("*.json"))}


def find_table(name: Path) -> Path:
    """Return the table that a user means: a file, or a shipped table by the name of its device.

    Raises:
        TableError: there is neither.
    """
    if name.exists() or name.suffix or len(name.parts) > 1:
        return name
    found = shipped_table(name.name)
    if found is None:
        raise TableError(
            f"'{name}' is neither a latency table's file nor a shipped table ({', '.join(shipped_tables())}); "
            "make one with: amc-hw profile"
        )
    return found


def shipped_table(device: str) -> Path | None:
    """Return the shipped table of a device, or None where there is none of that name."""
    return shipped_tables().get(device)
