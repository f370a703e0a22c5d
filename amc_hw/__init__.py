"""amc-hw: compress a CNN to a latency budget measured on the device it will run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amc_hw.api import Compressed, compress

__version__ = "0.1.0"
__all__ = ["Compressed", "compress"]


def __getattr__(name: str) -> Any:
    """Load the Python interface when it is first used: importing amc_hw alone loads no heavy library."""
    if name in __all__:
        from amc_hw import api

        return getattr(api, name)
    raise AttributeError(f"module 'amc_hw' has no attribute '{name}'")
