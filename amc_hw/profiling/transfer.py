"""A latency table of a device that resembles another one: that one's table, carried over by a few networks.

Twelve networks are measured. `FITTED` of them, chosen to tell much, say how much longer each operator takes here. The
others are drawn as a table's own networks are, and are predicted: their error stands in the table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amc_hw import __version__
from amc_hw.devices.base import Device
from amc_hw.devices.turns import measuring
from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.factors import Sample, learn_factors
from amc_hw.latency.learned import calibration_of
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.read_table import load_table
from amc_hw.latency.share import Totals, WholeNetwork
from amc_hw.latency.shares import WORTH
from amc_hw.latency.table import FORMAT, Entry, LatencyTable, PredictionError
from amc_hw.latency.transfer import METHOD, carried_deviations, carried_entries, carried_shares, require_covered
from amc_hw.latency.transferred import Transfer
from amc_hw.policy import Policy
from amc_hw.profiling.bench import ProfilingBench
from amc_hw.profiling.clock import BUSY, FIRST_GUESS_MS, UNSTEADY_VISITS, are_spoiled, spread, time_in_turns, visit_ms
from amc_hw.profiling.design import choose, draw_candidates
from amc_hw.profiling.measure import entries_of, steady_kernels
from amc_hw.profiling.plan import rounds_of_visits
from amc_hw.runs.files import make_folder, require_writable
from amc_hw.runs.progress import Progress
from amc_hw.tracing.traced import TracedModel

FITTED, HELD_OUT = 8, 4
DRAWS = 200


def require_new(path: Path, device: Device) -> Transfer | None:
    """Tell of the transferred table that stands where another is to be made, None where there is nothing.

    Raises:
        UsageError: the device was measured into it.
        TableError: it is damaged, or of another device.
    """
    if not path.exists():
        make_folder(path.parent)
        require_writable(path)
        return None
    table = load_table(path)
    table.require(device.fingerprint(), path)
    if table.transfer is None:
        raise UsageError(
            f"{path} has measurements of this device already; leave out like= to measure what it lacks, or name "
            "another table=."
        )
    return table.transfer


@dataclass(frozen=True)
class Known:
    """The table to begin with, and its file."""

    table: LatencyTable
    path: Path


@dataclass(frozen=True)
class Measured:
    """What was measured on the new device.

    Attributes:
        networks: operators of all networks; the first is the original.
        whole: the same as the clock saw them.
        entries: of the networks to be fitted, one list each; none where no operator's time is told.
    """

    networks: Sequence[Sequence[Operator]]
    whole: Sequence[WholeNetwork]
    entries: Sequence[Sequence[Entry]]

    def samples(self, known: Predictor) -> list[Sample]:
        """Return what the networks to be fitted tell beside what a known table says of their operators."""
        samples = []
        for number, operators in enumerate(self.networks[:FITTED]):
            there_us = [1e3 * ms for ms in known.operators_ms(operators)]
            told = [(operator.family, us) for operator, us in zip(operators, there_us, strict=True) if us > 0]
            if not self.entries:
                samples.append(Sample(number, tuple(told), 1e3 * self.whole[number].measured_ms))
                continue
            us_of = {
                (operator.family, operator.c_in, operator.c_out): us
                for operator, us in zip(operators, there_us, strict=True)
            }
            samples += [
                Sample(number, ((entry.family, us_of[entry.key]),), entry.mean_us)
                for entry in self.entries[number]
                if us_of[entry.key] > 0
            ]
        return samples


def transfer_table(
    device: Device,
    traced: TracedModel,
    template: GraphTemplate,
    known: Known,
    path: Path,
    seed: int,
    progress: Progress,
) -> LatencyTable:
    """Measure twelve networks and carry another device's table over; it is saved at the end.

    Args:
        device: where to measure.
        traced: the network.
        template: its operators as functions of the policy.
        known: a table that has measured the same network on a device that resembles this one.
        path: where the new table goes; one that was transferred for the same network is replaced.
        seed: decides which networks are measured.
        progress: is told how far the work is.

    Raises:
        DeviceError: a measurement failed; nothing is saved.
        TableError: the known table does not cover the network.
        UsageError: what stands at ``path`` is to stay.
        UnsupportedModelError: the network has fewer than twelve pruned versions.
    """
    operators = template.operators(traced.network.original)
    require_covered(known.table, operators, str(known.path))
    before, structure = require_new(path, device), structure_of(operators)
    if before is not None and before.structure != structure:
        raise UsageError(f"{path} was transferred for {before.model}; name another table= for this network.")
    told = device.operator_times and known.table.totals is None
    with measuring(device), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"network.{device.format}"
        bench = ProfilingBench(device, traced, template, file, np.random.default_rng([seed, FITTED]))
        measured = _measure(bench, told, progress)
    table = LatencyTable(
        format=FORMAT,
        fingerprint=device.fingerprint(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        method=METHOD,
        version=__version__,
        transfer=Transfer(
            fingerprint=known.table.fingerprint,
            created=known.table.created,
            structure=structure,
            model=traced.name,
            networks=FITTED,
        ),
    )
    _carry_over(table, known.table, measured)
    _prove(table, measured)
    for note in device.notes():
        table.note(note)
    table.save(path)
    return table


def _measure(bench: ProfilingBench, told: bool, progress: Progress) -> Measured:
    """Time all networks in turns, and where the device tells them the operators of those to be fitted."""
    policies = _with_others(bench, _chosen(bench))
    visits, entries = _visits_ms(bench, policies, progress), []
    for done, policy in enumerate(policies[:FITTED] if told else ()):
        progress("measuring operators", done, FITTED)
        kernels, steady = steady_kernels(bench.device, bench.put(bench.content(policy)), bench.effort)
        entries.append(entries_of(bench.template, policy, kernels, steady))
    networks = [bench.template.operators(policy) for policy in policies]
    whole = [
        WholeNetwork(
            structure=structure_of(operators),
            model=bench.traced.name,
            channels=[[operator.c_in, operator.c_out] for operator in operators],
            measured_ms=float(np.median(own)),
            original=index == 0,
            unstable=spread(own) > UNSTEADY_VISITS,
        )
        for index, (operators, own) in enumerate(zip(networks, visits, strict=True))
    ]
    return Measured(networks, whole, entries)


def _chosen(bench: ProfilingBench) -> list[Policy]:
    """Return the original, the smallest network, and those that tell most beside the two."""
    candidates = draw_candidates(bench.traced.choices, bench.random)
    first, *others = (
        [(operator.family, operator.c_in, operator.c_out) for operator in bench.template.operators(policy)]
        for policy in (*bench.corners, *candidates)
    )
    chosen = choose(others[1:], [first, others[0]], FITTED - len(bench.corners))
    return [*bench.corners, *(candidates[index] for index in chosen)]


def _with_others(bench: ProfilingBench, chosen: Sequence[Policy]) -> list[Policy]:
    """Add the networks that are held out, none of which is among those that were chosen."""
    policies = list(chosen)
    for _ in range(DRAWS):
        if len(policies) == FITTED + HELD_OUT:
            return policies
        if (drawn := bench.draw()) not in policies:
            policies.append(drawn)
    raise UnsupportedModelError(
        f"{bench.traced.name} has too few pruned versions to prove a transferred table by; measure the device: amc-hw "
        "profile without like="
    )


def _visits_ms(bench: ProfilingBench, policies: Sequence[Policy], progress: Progress) -> NDArray[np.float64]:
    """Time networks in random turns, a short visit each; the original tells how many (networks x visits)."""
    contents, device = [bench.content(policy) for policy in policies], bench.device
    about_ms = visit_ms(device, bench.put(contents[0]), FIRST_GUESS_MS)
    rounds = rounds_of_visits(bench.effort, about_ms) if device.operator_times else bench.effort.total_visits
    size = rounds * len(policies)
    return time_in_turns(
        bench, contents, about_ms, rounds, lambda share: progress("timing whole networks", round(share * size), size)
    )


def _carry_over(table: LatencyTable, known: LatencyTable, measured: Measured) -> None:
    """Put into a table what another one says by the factors between the two, and what was measured.

    How operators deviate there from their shares is carried over, too, where the networks measured here bear it out.
    """
    factors = learn_factors(measured.samples(Predictor(known)))
    if known.totals is not None and known.totals.deviations is not None:
        plain = known.model_copy(update={"totals": known.totals.model_copy(update={"deviations": None})})
        without = learn_factors(measured.samples(Predictor(plain)))
        if factors.error >= WORTH * without.error:
            known, factors = plain, without
    table.add(carried_entries(known, factors))
    for entries in measured.entries:
        table.add(entries)
    if not measured.entries:
        families = [operator.family for operator in measured.networks[0]]
        table.totals = Totals(
            families={measured.whole[0].structure: families},
            networks=list(measured.whole),
            shares=carried_shares(known, factors, families),
            carried=carried_deviations(known, factors),
        )


def _prove(table: LatencyTable, measured: Measured) -> None:
    """Tie a table to the clock by the networks that were fitted, and put its error on the others into it."""
    predictor, networks = Predictor(table), list(zip(measured.networks, measured.whole, strict=True))
    table.calibration = [
        calibration_of(whole, sum(predictor.operators_ms(operators))) for operators, whole in networks[:FITTED]
    ]
    off = [abs(predictor.network_ms(operators) / whole.measured_ms - 1) for operators, whole in networks[FITTED:]]
    table.errors = {
        measured.whole[0].structure: PredictionError(networks=len(off), mean=float(np.mean(off)), worst=max(off))
    }
    unstable = [whole.unstable for whole in measured.whole]
    if are_spoiled(unstable):
        name = measured.whole[0].model
        table.note(f"the times of {sum(unstable)} of {len(unstable)} whole networks of {name} disagree: {BUSY}")
