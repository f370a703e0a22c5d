"""Which of torchrun's processes this one is, as its environment says; without torchrun there is one."""

from __future__ import annotations

import os

from amc_hw.errors import UsageError


def process_count() -> int:
    """Return how many processes train together."""
    return _number("WORLD_SIZE", 1)


def is_first_process() -> bool:
    """Tell whether this process is the one that prints and writes files."""
    return process_count() == 1 or _number("RANK", 0) == 0


def local_rank() -> int:
    """Return the number of this process among those of its machine, which is that of its GPU."""
    return _number("LOCAL_RANK", 0)


def require_one_process(command: str) -> None:
    """Raise UsageError where torchrun started several processes for a command that works in one."""
    if process_count() > 1:
        raise UsageError(
            f"amc-hw {command} works in one process, and WORLD_SIZE is {process_count()}; "
            "torchrun is for amc-hw train and amc-hw finetune only."
        )


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else otherwise
