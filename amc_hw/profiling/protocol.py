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
