"""Runs the command line in this process (fast) or in one of its own (to be killed)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

TINY = f"{Path(__file__).parent / 'tiny.py'}:tiny"
PROGRAM = str(Path(__file__).parent / "less.py")


def amc_hw(*arguments: object) -> int:
    """Run a command in this process and return its exit status."""
    from amc_hw.cli.main import main

    with patch.object(sys, "argv", ["amc-hw", *map(str, arguments)]):
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def start_amc_hw(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own, which does as little as those in this process."""
    command = [sys.executable, PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
