"""Learns a latency table from whole networks, for devices that tell no operator's time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from amc_hw.latency.learned import learn_table
from amc_hw.latency.prediction import structure_of
from amc_hw.latency.share import Totals, WholeNetwork
from amc_hw.latency.table import LatencyTable
from amc_hw.policy import Policy
from amc_hw.profiling.bench import ProfilingBench
from amc_hw.profiling.clock import BUSY, FIRST_GUESS_MS, UNSTEADY_VISITS, are_spoiled, spread, time_in_turns
from amc_hw.profiling.design import choose, draw_candidates
from amc_hw.runs.progress import Progress

BATCH = 30
"""Networks that are timed in turns before the table is learned again and saved."""
ENOUGH = 0.02
"""Mean error on networks left out under which no more are timed."""


def measure_totals(bench: ProfilingBench, table: LatencyTable, path: Path, progress: Progress, renew: bool) -> None:
    """Time whole networks until their shares predict those left out, and put what was learned into the table.

    Networks that the table has already are not timed again; the table is saved after every batch.

    Args:
        bench: the network and the device.
        table: gets the networks, the shares and the entries.
        path: its file.
        progress: is told how far the work is.
        renew: time all networks again, where a busy machine has spoiled more than a quarter of them.

    Raises:
        DeviceError: a measurement failed; what was measured before is saved.
    """
    operators = bench.template.operators(bench.corners[0])
    structure, most = structure_of(operators), bench.effort.totals
    totals = table.totals or Totals()
    if renew and are_spoiled([network.unstable for network in _own(totals, structure)]):
        kept = [network for network in totals.networks if network.structure != structure]
        totals = totals.model_copy(update={"networks": kept})
        table.notes = [note for note in table.notes if not note.endswith(BUSY)]
    families = {**totals.families, structure: [operator.family for operator in operators]}
    totals = totals.model_copy(update={"families": families})
    while (done := len(_own(totals, structure))) < most:
        if done and structure in table.errors and table.errors[structure].mean <= ENOUGH and table.totals is not None:
            break
        networks = _measure_batch(bench, totals, structure, min(BATCH, most - done), progress)
        totals = totals.model_copy(update={"networks": [*totals.networks, *networks]})
        learn_table(table, totals)
        table.save(path)
    own = [network.unstable for network in _own(totals, structure)]
    if are_spoiled(own):
        table.note(f"the times of {sum(own)} of {len(own)} whole networks of {bench.traced.name} disagree: {BUSY}")


def _own(totals: Totals, structure: str) -> list[WholeNetwork]:
    return [network for network in totals.networks if network.structure == structure]


def _measure_batch(
    bench: ProfilingBench, totals: Totals, structure: str, count: int, progress: Progress
) -> list[WholeNetwork]:
    """Time networks, half of them drawn evenly and half that tell most beside them; the original in every batch."""
    known = _own(totals, structure)
    corners = bench.corners if not known else []
    drawn = [*corners, *(bench.draw() for _ in range((count - len(corners)) // 2))]
    candidates = [*drawn, *draw_candidates(bench.traced.choices, bench.random)]
    channels = [_channels(bench, policy) for policy in candidates]
    families = totals.families[structure]
    keys = [[(f, c[0], c[1]) for f, c in zip(families, each, strict=True)] for each in channels]
    before = [list(totals.operators(network)) for network in known] + keys[: len(drawn)]
    chosen = [index + len(drawn) for index in choose(keys[len(drawn) :], before, count - len(drawn))]
    indices = [*range(len(drawn)), *chosen]
    extra = [] if corners else [bench.corners[0]]
    contents = [bench.content(policy) for policy in (*extra, *(candidates[index] for index in indices))]

    def told(share: float) -> None:
        progress("timing whole networks", round(len(known) + share * len(contents)), bench.effort.totals)

    visits = time_in_turns(bench, contents, FIRST_GUESS_MS, bench.effort.total_visits, told)
    times = np.median(visits, axis=1)
    if known:  # the machine may be faster or slower by now; the original tells by how much
        times = times * next(network.measured_ms for network in known if network.original) / times[0]
    rows = zip(indices, times[len(extra) :], visits[len(extra) :], strict=True)
    return [
        WholeNetwork(
            structure=structure,
            model=bench.traced.name,
            channels=channels[index],
            measured_ms=float(time),
            original=not known and index == 0,
            unstable=spread(own) > UNSTEADY_VISITS,
        )
        for index, time, own in rows
    ]


def _channels(bench: ProfilingBench, policy: Policy) -> list[list[int]]:
    return [[operator.c_in, operator.c_out] for operator in bench.template.operators(policy)]
