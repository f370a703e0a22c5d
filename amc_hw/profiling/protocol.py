"""How often an exported file runs for its proof; light, so that the command line can name these figures."""

from __future__ import annotations

from dataclasses import dataclass

from amc_hw.errors import UsageError


@dataclass(frozen=True)
class Protocol:
    """How often each file runs: ``repeats`` times or more, ``warmup + runs`` iterations each."""

    warmup: int = 100
    runs: int = 200
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.runs < 1 or self.repeats < 1:
            raise UsageError("a benchmark needs at least one run and one repeat, and no negative warm-up.")


QUICK = Protocol(warmup=30, runs=100, repeats=3)
"""For what is compared on the way; the last benchmark has the whole protocol."""
HEADROOM = 0.995
"""What is measured here is aimed this much under the target, so that the final benchmark finds it there, too."""
