"""The command line."""

from amc_hw.cli.main import main

__all__ = ["main"]
