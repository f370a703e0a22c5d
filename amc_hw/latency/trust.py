"""How far a prediction can be trusted: what of a network a table has measured, and what it only infers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from amc_hw.latency.operators import Operator
from amc_hw.latency.outdated import outdated
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.table import LatencyTable

COPY_FREE = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
"""Operators that move nothing, so that a table without them misses no time."""

WIDE_REACH = 1.5
"""Channel counts this far outside of the measured ones are worth a word."""

SMALL_SHARE = 0.01
"""Operators with less of the time cannot put a prediction wrong."""


BUSY_SHARE = 0.25
"""Of the networks that carry a table over, from which on unsteady ones say more of the machine than of the devices."""
TRUSTED_ERROR = 0.05
"""Mean error of a transferred table, on networks of the new device, from which on it is no help to a search."""


@dataclass(frozen=True)
class Inferred:
    """Operators of one kind whose shape the table does not have.

    Attributes:
        kind: of the operators.
        operators: how many of the network's.
        share: of the predicted time of all operators.
        reach: how far beyond the measured sizes the furthest lies, 1 inside.
        error: mean error on shapes that were left out (a fraction), None where there is only one shape.
    """

    kind: str
    operators: int
    share: float
    reach: float
    error: float | None

    def sentence(self) -> str:
        """Say it."""
        beyond = (
            "within the measured sizes" if self.reach <= 1 else f"up to {self.reach:.1f}x beyond the measured sizes"
        )
        off = "" if self.error is None else f"; such predictions were off by {self.error:.0%} on average"
        return (
            f"{self.operators} {self.kind} operators ({self.share:.0%} of the time) have shapes that were never "
            f"measured: they are predicted from others of the kind, {beyond}{off}."
        )


def inferred(predictor: Predictor, operators: Sequence[Operator]) -> list[Inferred]:
    """Return what the table infers of a network's operators, one value for each kind, the costliest first."""
    times = predictor.operators_ms(operators)
    total = sum(times) or 1.0
    model, found = predictor.extrapolation, []
    unseen = [
        (operator, time)
        for operator, time in zip(operators, times, strict=True)
        if predictor.answers(operator) and not model.measured(operator.family)
    ]
    for kind in dict.fromkeys(operator.kind for operator, _ in unseen):
        own = [(operator, time) for operator, time in unseen if operator.kind == kind]
        found.append(
            Inferred(
                kind,
                len(own),
                sum(time for _, time in own) / total,
                max(model.reach(operator.family, operator.c_in, operator.c_out) for operator, _ in own),
                model.error(own[0][0].family),
            )
        )
    return sorted(found, key=lambda kind: -kind.share)


def of_totals(table: LatencyTable) -> list[str]:
    """Say that a table was learned from the times of whole networks, where it was, and how far off it is."""
    if table.totals is None or table.transfer is not None:
        return []
    off = max((error.mean for error in table.errors.values()), default=0.0)
    return [
        f"the latency table was learned from the totals of {len(table.totals.networks)} whole networks, because the "
        f"device tells no operator's time; on networks left out it was {off:.1%} off on average."
    ]


def of_transfer(table: LatencyTable) -> list[str]:
    """Say that a table was carried over from another device's, where it was, how far off it is, and what to do then."""
    if table.transfer is None:
        return []
    source, error = table.transfer.fingerprint, table.errors[table.transfer.structure]
    threads = "1 thread" if source.threads == 1 else f"{source.threads} threads"
    proven = (
        f"the latency table was transferred by {table.transfer.networks} networks from that of {source.device} "
        f"({source.runtime} {source.runtime_version}, {source.delegate}, {threads}); on {error.networks} others it was "
        f"{error.mean:.1%} off on average, {error.worst:.1%} at worst"
    )
    if error.mean <= TRUSTED_ERROR:
        return [f"{proven}."]
    if sum(network.unstable for network in table.calibration) > BUSY_SHARE * len(table.calibration):
        cure = "the machine was busy; do the same again when it is quiet"
    else:
        cure = "the devices are too unlike; measure this one: amc-hw profile without --like"
    return [f"{proven}: do not rely on it, {cure}."]


def warnings(predictor: Predictor, operators: Sequence[Operator], smallest: Sequence[Operator] = ()) -> list[str]:
    """Return what someone who relies on a prediction should know, one sentence each; none for a measured network.

    Args:
        predictor: the table.
        operators: the original network's.
        smallest: the same operators with the fewest channels that are asked for.

    Raises:
        TableError: the table has no entry of the kind of an operator that has a filter.
    """
    sentences = [*outdated(predictor.table.notes), *of_totals(predictor.table), *of_transfer(predictor.table)]
    if all(network.structure != structure_of(operators) for network in predictor.table.calibration):
        sentences += [kind.sentence() for kind in inferred(predictor, operators)]
        missing = Counter(o.kind for o in operators if not predictor.answers(o) and o.kind not in COPY_FREE)
        if missing:
            names = ", ".join(f"{count} {kind}" for kind, count in missing.items())
            sentences.append(
                f"the table has no time for {names}: they count as 0 ms, which is true where they are fused."
            )
    reach, furthest = max((_furthest(predictor, network) for network in (operators, smallest)), key=lambda far: far[0])
    if furthest is not None and reach > WIDE_REACH:
        sentences.append(
            f"some channel counts lie outside of the measured ones, up to {reach:.1f}x "
            f"({furthest.c_in} to {furthest.c_out} channels in a {furthest.kind})."
        )
    return sentences


def _furthest(predictor: Predictor, operators: Sequence[Operator]) -> tuple[float, Operator | None]:
    """Return the operator whose channels lie furthest outside of the measured ones, of those that cost something."""
    times = predictor.operators_ms(operators)
    costly = [o for o, time in zip(operators, times, strict=True) if time > SMALL_SHARE * sum(times)]
    reaches = [channel_reach(predictor, operator) for operator in costly]
    return max(zip(reaches, costly, strict=True), key=lambda far: far[0], default=(1.0, None))


def channel_reach(predictor: Predictor, operator: Operator) -> float:
    """Return the factor by which an operator's channels lie outside of those measured for its shape, 1 inside."""
    measured = predictor.extrapolation.measured(operator.family)
    factors = [1.0]
    for asked, known in (
        (operator.c_in, [entry.c_in for entry in measured]),
        (operator.c_out, [entry.c_out for entry in measured]),
    ):
        if known:
            factors += [asked / max(known), min(known) / asked]
    return max(factors)
