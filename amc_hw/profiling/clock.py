"""Times whole networks by the clock, which ties a latency table's sums of operators to reality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amc_hw.devices.base import Device
from amc_hw.latency.prediction import Predictor, left_out_error, structure_of
from amc_hw.latency.table import CalibrationNetwork, LatencyTable
from amc_hw.policy import Policy
from amc_hw.profiling.bench import ProfilingBench
from amc_hw.profiling.plan import rounds_of_visits, runs_of_visit
from amc_hw.runs.progress import Progress

FIRST_GUESS_MS = 1.0

UNSTEADY_VISITS = 0.05
"""Networks whose middle half of visits spans more than this share of their median were not timed in peace."""


BUSY = "the machine was busy; amc-hw profile measures these again when it is quiet."


def are_spoiled(unstable: Sequence[bool]) -> bool:
    """Tell whether so many of the measurements are unstable, more than a quarter, that they say little."""
    return sum(unstable) * 4 > len(unstable)


def runs_of(device: Device, about_ms: float) -> tuple[int, int]:
    """Return how many runs of a visit warm up and how many count, for a network of so many milliseconds."""
    effort = device.effort
    runs = effort.visit_runs or runs_of_visit(about_ms)
    return effort.visit_warmup if effort.visit_runs else max(effort.visit_warmup, runs // 4), runs


def visit_ms(device: Device, file: Path, about_ms: float) -> float:
    """Return the mean latency of a network over one short visit, in milliseconds.

    Args:
        device: where to measure.
        file: the exported network.
        about_ms: what it is expected to take.
    """
    warmup, runs = runs_of(device, about_ms)
    return float(np.mean(device.time_model(file, warmup=warmup, runs=runs))) / 1e3


def time_in_turns(
    bench: ProfilingBench, contents: Sequence[bytes], about_ms: float, rounds: int, told: Callable[[float], None]
) -> NDArray[np.float64]:
    """Time networks in random turns, a short visit each in every round (networks x rounds, milliseconds).

    Args:
        bench: the device.
        contents: the networks' files.
        about_ms: what each is expected to take at first.
        rounds: visits to each.
        told: is given the share of the work that is done, after every round.
    """
    visits, about = np.empty((len(contents), rounds)), np.full(len(contents), about_ms)
    for turn in range(rounds):
        for place in bench.random.permutation(len(contents)):
            visits[place, turn] = about[place] = visit_ms(bench.device, bench.put(contents[place]), about[place])
        told((turn + 1) / rounds)
    return in_peace(visits) if rounds > 1 else visits


def in_peace(visits_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide out what slowed the machine for a whole round of visits (networks x rounds).

    A round's factor is the median of its visits over their networks' medians: Tukey's median polish, one pass.
    """
    relative = visits_ms / np.median(visits_ms, axis=1, keepdims=True)
    return np.asarray(visits_ms / np.median(relative, axis=0))


def spread(visits_ms: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the range of the middle half of the visits to a network, as a share of their median."""
    low, middle, high = np.percentile(visits_ms, (25, 50, 75))
    return float((high - low) / middle)


class Clock:
    """The calibration of a table for one network; nothing to do where the table has it already.

    Its networks are timed in many short visits between the other measurements of the table, so that what
    slows the machine for a while hits all of them alike.

    Args:
        bench: the network and the device.
        table: gets the calibration.
    """

    def __init__(self, bench: ProfilingBench, table: LatencyTable) -> None:
        self._bench, self._table = bench, table
        self._policies: list[Policy] = []
        self._structure = structure_of(bench.template.operators(bench.corners[0]))
        if all(network.structure != self._structure for network in table.calibration):
            drawn = (bench.draw() for _ in range(bench.effort.calibration - len(bench.corners)))
            self._policies = [*bench.corners, *drawn]
        self._contents = [bench.content(policy) for policy in self._policies]
        self._visits_ms: list[list[float]] = [[] for _ in self._policies]
        self._done, self._total = 0, len(self._policies) * bench.effort.visits

    def keep_up(self, share: float) -> None:
        """Make visits until this share of them is done."""
        while self._done < min(1.0, share) * self._total:
            self._visit()

    def finish(self, progress: Progress) -> None:
        """Make the visits that are left, and put the calibration into the table."""
        while self._done < self._total:
            self._visit()
            progress("timing whole networks", self._done, self._total)
        if not self._policies:
            return
        predictor, visits_ms = Predictor(self._table), in_peace(np.array(self._visits_ms))
        sums_ms = predictor.sums_ms([self._bench.template.operators(policy) for policy in self._policies])
        name = self._bench.traced.name
        networks = [
            CalibrationNetwork(
                structure=self._structure,
                model=name,
                operators_ms=operators_ms,
                measured_ms=float(np.median(visits)),
                original=policy == self._bench.corners[0],
                unstable=spread(visits) > UNSTEADY_VISITS,
            )
            for policy, operators_ms, visits in zip(self._policies, sums_ms, visits_ms, strict=True)
        ]
        self._table.calibration = [*self._table.calibration, *networks]
        self._table.errors = {**self._table.errors, self._structure: left_out_error(networks)}
        unstable = [network.unstable for network in networks]
        if are_spoiled(unstable):
            self._table.note(
                f"the times of {sum(unstable)} of {len(networks)} whole networks of {name} disagree: {BUSY}"
            )

    def _visit(self) -> None:
        index = self._done % len(self._policies)
        file, visits = self._bench.put(self._contents[index]), self._visits_ms[index]
        visits.append(visit_ms(self._bench.device, file, float(np.median(visits)) if visits else FIRST_GUESS_MS))
        if not self._done:  # the first one was the original
            self._total = len(self._policies) * rounds_of_visits(self._bench.effort, visits[0])
        self._done += 1
