"""How long the threads of PyTorch wait for each other before they give the processor to somebody else."""

from __future__ import annotations

import os

_SPINS = "1000"
"""Of a waiting thread before it sleeps: some microseconds, where GNU's OpenMP has milliseconds by default."""


def wait_briefly() -> None:
    """Have the threads of an operator sleep soon when they wait; call it before PyTorch is imported.

    A thread that spins beside another busy process keeps the processor from the very thread that it waits for. What the
    user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
