"""The measured tables that travel with the package, by the name of their device."""

from __future__ import annotations

from pathlib import Path

from amc_hw.shipped import shipped


def shipped_tables() -> dict[str, Path]:
    """Return every shipped table: the device's name, as ``--device`` takes it, and the file."""
    return {file.stem: file for file in sorted(shipped("lookup_tables").glob("*.json"))}


def shipped_table(device: str) -> Path | None:
    """Return the shipped table of a device, or None where there is none of that name."""
    return shipped_tables().get(device)
