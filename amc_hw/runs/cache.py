"""Where files are kept between runs for this user: latency tables, downloads, locks."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return the folder ``name`` of the user's cache (XDG_CACHE_HOME, or ~/.cache); it need not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "amc-hw" / name
