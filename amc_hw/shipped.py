"""Finds the files that travel with the package: profilers, device scripts and latency tables."""

from __future__ import annotations

from pathlib import Path

from amc_hw.errors import AmcHwError


def shipped(folder: str) -> Path:
    """Return the folder ``profilers``, ``device_scripts`` or ``lookup_tables`` of a wheel or of a checkout.

    Raises:
        AmcHwError: the installation lacks the folder.
    """
    package = Path(__file__).parent
    for place in (package / "_shipped" / folder, package.parent / folder):
        if place.is_dir():
            return place
    raise AmcHwError(f"this installation of amc-hw has no {folder}/; install it again.")
