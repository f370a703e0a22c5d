"""How much of a device's time a latency table may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How much of a device's time its latency table may take; the defaults are for a computer.

    A device on which every network is dear (pushed, and run in a process of its own) asks for fewer and longer ones.

    Attributes:
        networks: networks (times their operators of a family) after which more of them no longer lower the error.
        warmup: runs of each network that do not count.
        runs: runs of each network with the profiler on; the slowest quarter is left out.
        samples: times that the device then tells of each kernel: one for each run, or only their mean.
        calibration: whole networks that are timed by the clock.
        visits: times that every one of them has its turn, at most; see `amc_hw.profiling.plan.rounds_of_visits`.
        visit_warmup: runs of each visit that do not count, at least; a quarter of the others where they are many.
        visit_runs: runs that do; 0 for what `amc_hw.profiling.plan.runs_of_visit` says.
        totals: whole networks, at most, from which a table is learned where the device tells no operator's time.
        total_visits: times that each of those has its turn.
    """

    networks: int = 64
    warmup: int = 2
    runs: int = 8
    samples: int = 8
    calibration: int = 32
    visits: int = 20
    visit_warmup: int = 2
    visit_runs: int = 0
    totals: int = 150
    total_visits: int = 5
